{{/* One server: Deployment, Service, and a PodDisruptionBudget where there are several. Needs: root, name, command, port, health, replicas, resources, env. */}}
{{- define "imagesync.server" -}}
{{- $name := printf "%s-%s" .root.Release.Name .name -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}
  labels: &labels
    app.kubernetes.io/name: {{ .name }}
    app.kubernetes.io/instance: {{ .root.Release.Name }}
    app.kubernetes.io/part-of: imagesync
spec:
  replicas: {{ .replicas }}
  selector:
    matchLabels: {app.kubernetes.io/name: {{ .name }}, app.kubernetes.io/instance: {{ .root.Release.Name }}}
  template:
    metadata:
      labels: *labels
      annotations:
        # A changed setting starts the pods anew.
        imagesync/env: {{ .root.Values.env | toJson | sha256sum }}
    spec:
      automountServiceAccountToken: false
      # Above the longest clean stop of a server (20 s, downloads of the head office).
      terminationGracePeriodSeconds: 45
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        fsGroup: 10001
        seccompProfile: {type: RuntimeDefault}
      {{- with .root.Values.imagePullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: {{ .name }}
          image: {{ printf "%s:%s" .root.Values.image.repository .root.Values.image.tag | quote }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          args: {{ toJson .command }}
          ports:
            - {name: http, containerPort: {{ .port }}}
          envFrom:
            - configMapRef: {name: {{ .root.Release.Name }}-config}
            - secretRef: {name: {{ .root.Values.secretName }}}
          {{- with .env }}
          env: {{- toYaml . | nindent 12 }}
          {{- end }}
          startupProbe:
            httpGet: {path: {{ .health }}, port: http}
            periodSeconds: 5
            failureThreshold: 24
          readinessProbe:
            httpGet: {path: {{ .health }}, port: http}
            periodSeconds: 15
            timeoutSeconds: 10
          # Only whether it answers at all: a database that is away is no reason to start anew.
          livenessProbe:
            tcpSocket: {port: http}
            periodSeconds: 30
            failureThreshold: 4
          resources: {{- toYaml .resources | nindent 12 }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          volumeMounts:
            - {name: home, mountPath: /var/lib/imagesync}
            - {name: tmp, mountPath: /tmp}
            {{- if .root.Values.accountsSecret }}
            - {name: accounts, mountPath: /etc/imagesync, readOnly: true}
            {{- end }}
      volumes:
        - name: home
          emptyDir: {}
        - name: tmp
          emptyDir: {sizeLimit: 1Gi}
        {{- if .root.Values.accountsSecret }}
        - name: accounts
          secret: {secretName: {{ .root.Values.accountsSecret }}, defaultMode: 0440}
        {{- end }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ $name }}
  labels: {app.kubernetes.io/name: {{ .name }}, app.kubernetes.io/instance: {{ .root.Release.Name }}}
spec:
  selector: {app.kubernetes.io/name: {{ .name }}, app.kubernetes.io/instance: {{ .root.Release.Name }}}
  ports:
    - {name: http, port: 80, targetPort: http}
{{- if gt (int .replicas) 1 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $name }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {app.kubernetes.io/name: {{ .name }}, app.kubernetes.io/instance: {{ .root.Release.Name }}}
{{- end }}
{{- end }}

{{/* One Ingress. Needs: root, name, service, host, paths, login. */}}
{{- define "imagesync.ingress" -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ .root.Release.Name }}-{{ .name }}
  {{- $annotations := merge (dict) .root.Values.ingress.annotations (ternary .root.Values.ingress.loginAnnotations (dict) .login) }}
  {{- with $annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  ingressClassName: {{ .root.Values.ingress.className }}
  tls:
    - hosts: [{{ .host }}]
      secretName: {{ .root.Values.ingress.tlsSecret }}
  rules:
    - host: {{ .host }}
      http:
        paths:
          {{- range .paths }}
          - path: {{ . }}
            pathType: Prefix
            backend: {service: {name: {{ $.root.Release.Name }}-{{ $.service }}, port: {name: http}}}
          {{- end }}
{{- end }}
