"""The settings of products and of the images that are shown for them, from the environment and from `.env`."""

from pathlib import Path

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from imagesync_pipelines.languages import told
from imagesync_pipelines.settings import EnvironmentSettings

# The ERP's tables as the contract has them.
_PARENTS_QUERY = "SELECT id, sku, name, legacy_base_sku, is_active FROM products_parentproduct"
_VARIANTS_QUERY = (
    "SELECT id, sku, name, parent_id, variant_code, legacy_sku, legacy_base_sku, is_active FROM products_variantproduct"
)


class ShowingSettings(EnvironmentSettings):
    """How product images are shown; every field is the variable of the same name in capitals."""

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True)

    image_db_own_images_first: bool = Field(False, description="show a variant's own images before its parent's")
    image_db_detail_min_height: int = Field(600, ge=1, description="pixels a picture needs for a product page")
    image_db_fresh_hours: float = Field(26, gt=0, description="hours after which the product images count as stale")


class ErpSettings(EnvironmentSettings):
    """What reading the ERP needs to know; every field is the variable of the same name in capitals."""

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True)

    erp_database_url: SecretStr | None = Field(None, description="any SQLAlchemy URL of the ERP's database")
    erp_parents_query: str = Field(_PARENTS_QUERY, description="SQL giving the parent products")
    erp_variants_query: str = Field(_VARIANTS_QUERY, description="SQL giving the variants")
    erp_parents_file: Path | None = Field(None, description="CSV or Parquet file of the parents, instead of SQL")
    erp_variants_file: Path | None = Field(None, description="CSV or Parquet file of the variants, instead of SQL")

    erp_files_end_open: bool = Field(
        False, description="the last line of the ERP's CSV files may lack its end; else such a file counts as cut off"
    )

    @model_validator(mode="after")
    def _files_come_in_pairs(self) -> "ErpSettings":
        if (self.erp_parents_file is None) != (self.erp_variants_file is None):
            raise ValueError("ERP_PARENTS_FILE and ERP_VARIANTS_FILE go together; set both or none")
        return self


def missing_of_erp(settings: ErpSettings) -> tuple[str, ...]:
    """The variables without which the ERP cannot be read; empty when it can."""
    if settings.erp_database_url or settings.erp_parents_file:
        return ()
    return (told("ERP_DATABASE_URL (or ERP_PARENTS_FILE and ERP_VARIANTS_FILE)"),)
