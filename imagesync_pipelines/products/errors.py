"""What is wrong with the ERP's products, for those who only want to know; what reads them imports pandas."""

from imagesync_pipelines.errors import ImagesyncError


class ErpError(ImagesyncError):
    """The ERP could not be read, or gave nothing that may be used; the message says what to do."""
