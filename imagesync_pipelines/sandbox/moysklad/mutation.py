"""What people do in an account while nobody synchronises, one change or a night of them; nothing here is a call."""

from random import Random

from imagesync_pipelines.sandbox.moysklad.handle import AccountHandle
from imagesync_pipelines.sandbox.moysklad.making import jpeg
from imagesync_pipelines.sandbox.moysklad.model import MOST_IMAGES, WITH_IMAGES, EntityType
from imagesync_pipelines.sandbox.mutation import MutationError, make, operators

File = tuple[str, bytes]


def add_image(account: AccountHandle, *, entity: str, filename: str = "новое.jpg", place: int | None = None) -> str:
    """Somebody adds a picture at the end, or before a place; gives what was done."""
    files = _files(account, entity)
    if len(files) >= MOST_IMAGES:
        raise MutationError(f"{_named(account, entity)} has {MOST_IMAGES} images already")
    files.insert(len(files) if place is None else place, (filename, _fresh(account, filename)))
    return _set(account, entity, files, f"added {filename}")


def replace_image(account: AccountHandle, *, entity: str, place: int = 0) -> str:
    """Somebody puts another picture of the same name in the place of one."""
    files = _files(account, entity, place)
    name = files[place][0]
    files[place] = (name, _fresh(account, name))
    return _set(account, entity, files, f"replaced {name}")


def reorder(account: AccountHandle, *, entity: str) -> str:
    """Somebody makes the last image the first."""
    files = _files(account, entity, 0)
    return _set(account, entity, [files[-1], *files[:-1]], f"put {files[-1][0]} first")


def remove_image(account: AccountHandle, *, entity: str, place: int = 0) -> str:
    """Somebody takes an image away."""
    files = _files(account, entity, place)
    name, _ = files.pop(place)
    return _set(account, entity, files, f"removed {name}")


def remove_images(account: AccountHandle, *, entity: str) -> str:
    """Somebody takes all images away."""
    _files(account, entity, 0)
    return _set(account, entity, [], "removed all images")


def rename_image(account: AccountHandle, *, entity: str, place: int = 0, filename: str = "переименовано.jpg") -> str:
    """Somebody uploads an image again under another name."""
    files = _files(account, entity, place)
    before, content = files[place]
    files[place] = (filename, content)
    return _set(account, entity, files, f"renamed {before} to {filename}")


def delete_entity(account: AccountHandle, *, entity: str) -> str:
    """Somebody deletes a product, with its variants, or a bundle or a variant."""
    name = _named(account, entity)
    account.delete(entity)
    return f"{name}: deleted"


OPERATORS = operators(*(add_image, replace_image, reorder, remove_image, remove_images, rename_image, delete_entity))


def mutate(account: AccountHandle, operator: str, **arguments: object) -> str:
    """Make one change now; `entity` is an id. Gives a line that says what was done; raises MutationError."""
    return make(OPERATORS, operator, account, **arguments)


def night(account: AccountHandle, seed: int = 1) -> list[str]:
    """Change six entities, each in another way, and delete one that is no product; gives one line per change.

    Raises MutationError when the account has too few entities with two images or more.
    """
    dice = Random(seed)
    shown = [one.id for one in account.entities(*WITH_IMAGES) if 2 <= len(one.images) < MOST_IMAGES]
    leaves = [one.id for one in account.entities(EntityType.BUNDLE, EntityType.VARIANT) if one.id in shown]
    gentle = [name for name in OPERATORS if name != delete_entity.__name__]
    if len(shown) <= len(gentle) or not leaves:
        raise MutationError(f"a night needs a bundle or variant and {len(gentle)} more entities with 2 images or more")
    gone = dice.choice(leaves)
    chosen = dice.sample([one for one in shown if one != gone], len(gentle))
    done = [mutate(account, operator, entity=entity) for operator, entity in zip(gentle, chosen, strict=True)]
    return [*done, delete_entity(account, entity=gone)]


def _files(account: AccountHandle, entity: str, place: int | None = None) -> list[File]:
    _named(account, entity)
    files = [(name, content) for name, content, _ in account.images(entity)]
    if place is not None and not 0 <= place < len(files):
        raise MutationError(f"{_named(account, entity)} has {len(files)} images; there is none at place {place}")
    return files


def _set(account: AccountHandle, entity: str, files: list[File], what: str) -> str:
    account.set_images(entity, files)
    return f"{_named(account, entity)}: {what}"


def _named(account: AccountHandle, entity: str) -> str:
    found = next((one for one in account.entities() if one.id == entity), None)
    if found is None:
        raise MutationError(f"{account.name} has no entity {entity}")
    return found.name


def _fresh(account: AccountHandle, filename: str) -> bytes:
    return jpeg(f"{filename}/{len(account.account.images)}")
