"""The pure rules of writing photos: which can be used, which need bytes, what a mismatch means."""

NO_IMAGE_UPSTREAM = "no image upstream"
UNKNOWN_PRODUCT = "the store does not have this product yet; the photo waits for it"
_MISMATCH = "checksum mismatch: listed {listed}"


def why_unusable(checksum: str, size: int, max_bytes: int) -> str:
    """Why a photo listed so is not to be fetched ('': it is). What the store has of it stays."""
    if not checksum or size <= 0:
        return NO_IMAGE_UPSTREAM
    if size > max_bytes:
        return f"listed with {size} bytes; {max_bytes} are allowed (EDGE_MAX_PHOTO_MB)"
    return ""


def mismatch_reason(listed: str, received: str) -> str:
    """What a row says whose bytes are not the listed ones; both are MD5 checksums."""
    return f"{_MISMATCH.format(listed=listed)}, received {received}"


def is_second_mismatch(error_before: str, listed: str) -> bool:
    """Whether the row said so before of the same listed checksum.

    Once may be a replacement during the run; twice in a row is corruption, or a stale listing.
    """
    return error_before.startswith(_MISMATCH.format(listed=listed))
