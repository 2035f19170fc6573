"""The accounts that tests of requests speak of."""

from imagesync_pipelines.connectors.moysklad.incoming import AccountNames

MAIN_ID = "11111111-1111-4111-8111-111111111111"
NORTH_ID = "22222222-2222-4222-8222-2222222222aa"
ENTITY = "7944ef04-f831-11e5-7a69-971500188b19"

NAMES = AccountNames(
    main=frozenset({"main", MAIN_ID}),
    children={"north": "north", NORTH_ID: "north", "south": "south", "west": "west"},
    active=("north", "south"),
)
