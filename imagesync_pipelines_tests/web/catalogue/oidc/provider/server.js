// A certified OpenID provider for the tests, in memory, for one client. Its people are told by
// PUT /people/NAME (their claims; null: disabled). Its own pages of development ask for a name and any password.
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { Provider } from "oidc-provider";

const [issuer, redirect, home] = process.argv.slice(2);
const people = new Map();
const key = () => ({
  ...generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" }),
  kid: randomUUID(), use: "sig", alg: "RS256",
});

const provider = new Provider(issuer, {
  jwks: { keys: [key()] },
  clients: [{
    client_id: "catalogue", client_secret: "a secret of the client",
    redirect_uris: [redirect], post_logout_redirect_uris: [home],
    grant_types: ["authorization_code", "refresh_token"],
    backchannel_logout_uri: new URL("/login/oidc/logout", redirect).href, backchannel_logout_session_required: true,
  }],
  cookies: { keys: ["k"] },
  claims: { openid: ["sub"], profile: ["name", "preferred_username"], email: ["email"], groups: ["groups"] },
  scopes: ["openid", "profile", "email", "groups", "offline_access"],
  features: { backchannelLogout: { enabled: true }, devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true } },
  // The catalogue of a test is on loopback, which it would not ask.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  pkce: { required: () => true },
  issueRefreshToken: async () => true,
  rotateRefreshToken: true,
  findAccount: async (_, sub) => people.get(sub) && { accountId: sub, claims: async () => ({ sub, ...people.get(sub) }) },
  ttl: { AccessToken: 600, IdToken: 600, RefreshToken: 3600, Session: 3600, Interaction: 600, Grant: 3600, AuthorizationCode: 60 },
});
provider.use(async (ctx, next) => {
  const [, kind, name] = ctx.path.split("/");
  if (kind !== "people") return next();
  let body = "";
  for await (const part of ctx.req) body += part;
  const told = JSON.parse(body);
  if (told) people.set(name, told); else people.delete(name);
  ctx.status = 204;
});
provider.listen(Number(new URL(issuer).port), "127.0.0.1", () => console.log("ready"));
