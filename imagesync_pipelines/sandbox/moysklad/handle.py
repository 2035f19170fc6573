"""One account as a test or a demo sees it: its credentials, its entities, and a person who works in it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from imagesync_pipelines.sandbox.moysklad.limits import PrincipalKind
from imagesync_pipelines.sandbox.moysklad.model import EntityType, NewEntity, StockAccount, StockEntity, fill
from imagesync_pipelines.sandbox.moysklad.office import Office, Principal
from imagesync_pipelines.sandbox.moysklad.webhooks import CREATE, DELETE, UPDATE, changed

FIRST_PRINCIPAL = "admin"
Files = Sequence[tuple[str, bytes]]


@dataclass(frozen=True)
class NewAccount:
    """An account that the stand-in has from the start; `kind` is that of its first principal."""

    name: str
    entities: tuple[NewEntity, ...] = ()
    kind: PrincipalKind = PrincipalKind.USER
    permanent_links: bool = False
    quota: int | None = None


@dataclass(frozen=True)
class AccountHandle:
    """An account and its first principal. What it gives are copies; ids are those of the API."""

    account: StockAccount
    principal: Principal
    office: Office

    @property
    def name(self) -> str:
        """The name in this sandbox."""
        return self.account.name

    @property
    def token(self) -> str:
        """The token of the first principal."""
        return self.principal.token

    def add_principal(self, name: str, kind: PrincipalKind) -> Principal:
        """Another user or solution of the account."""
        return self.office.principals.add(self.account, name, kind)

    def add_product(self, name: str, external_code: str = "", *, images: Files = (), **more: object) -> str:
        """Somebody creates a product; `more` are `code`, `article`, `barcodes`, `archived`. Gives its id."""
        return self._add(EntityType.PRODUCT, name, external_code, images, more)

    def add_bundle(self, name: str, external_code: str = "", *, images: Files = (), **more: object) -> str:
        """Somebody creates a bundle; gives its id."""
        return self._add(EntityType.BUNDLE, name, external_code, images, more)

    def add_variant(
        self, product_id: str, name: str, external_code: str = "", *, images: Files = (), **more: object
    ) -> str:
        """Somebody creates a variant of a product; gives its id."""
        return self._add(EntityType.VARIANT, name, external_code, images, {**more, "product_id": product_id})

    def set_images(self, entity_id: str, images: Files) -> list[str]:
        """Somebody makes these files the images of an entity; gives their ids. Equal ones keep their ids."""
        with self.account.lock:
            entity = self.account.entities[entity_id]
            shown = self.account.images_of(entity, images)
            self.account.show(entity, shown)
        self._changed(entity, UPDATE, self.account.switches.image_field_name)
        return [image.id for image in shown]

    def change(self, entity_id: str, **values: object) -> None:
        """Somebody changes fields of an entity: `name`, `external_code`, `code`, `article`, `barcodes`, `archived`."""
        with self.account.lock:
            entity = self.account.entities[entity_id]
            for name, value in values.items():
                setattr(entity, name, value)
        self._changed(entity, UPDATE, *values)

    def delete(self, entity_id: str) -> None:
        """Somebody deletes an entity."""
        with self.account.lock:
            entity = self.account.entities[entity_id]
            self.account.remove(entity)
        self._changed(entity, DELETE)

    def images(self, entity_id: str) -> list[tuple[str, bytes, str]]:
        """Name, bytes and id of an entity's images, in order; raises KeyError."""
        with self.account.lock:
            return [(image.filename, image.content, image.id) for image in self.account.entities[entity_id].images]

    def entities(self, *types: EntityType) -> list[StockEntity]:
        """The entities of these types, or all, oldest first."""
        with self.account.lock:
            found = self.account.of_types(types or tuple(EntityType))
            return [replace(entity, images=list(entity.images)) for entity in found]

    def by_code(self, external_code: str) -> StockEntity:
        """The first entity with this external code; raises KeyError."""
        for entity in self.entities():
            if entity.external_code == external_code:
                return entity
        raise KeyError(external_code)

    def _add(
        self, entity_type: EntityType, name: str, external_code: str, images: Files, more: dict[str, object]
    ) -> str:
        with self.account.lock:
            entity = self.account.add(entity_type, name, external_code)
            for attribute, value in more.items():
                setattr(entity, attribute, value)
            shown = self.account.images_of(entity, images)
            self.account.show(entity, shown)
        self._changed(entity, CREATE)
        return entity.id

    def _changed(self, entity: StockEntity, action: str, *fields: str) -> None:
        self.office.webhooks.tell(self.account, changed(self.account, entity, action, *fields))


def opened(new: NewAccount, office: Office) -> AccountHandle:
    """An account with what it has from the start, and its first principal."""
    account = StockAccount(new.name, office.clock, office.switches, new.permanent_links, new.quota)
    fill(account, new.entities)
    return AccountHandle(account, office.principals.add(account, FIRST_PRINCIPAL, new.kind), office)
