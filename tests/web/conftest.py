"""The small models and the browser that tests of the report and of the page share."""

from tests.pages import browser, digits, image_model, image_subject, people, table_model, table_subject  # noqa: F401
