"""What every answer of МойСклад is made of: errors by code, pages of HTML."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from imagesync_pipelines.sandbox.answers import SentReply

Json = dict[str, Any]

JSON = "application/json;charset=utf-8"
_MORE = "https://dev.moysklad.ru/doc/api/remap/1.2/#error_"
# Status and text by code; the statuses of 51001 to 51006 are a switch.
_CODES: Mapping[int, tuple[int, str]] = MappingProxyType(
    {
        1002: (404, "Неизвестный путь"),
        1008: (404, "Родительский объект не найден"),
        1014: (400, "Ошибка в параметре filter"),
        1016: (403, "Нет прав на создание объекта"),
        1017: (403, "Нет прав на изменение объекта"),
        1018: (403, "Нет прав на удаление объекта"),
        1020: (404, "Объект не найден"),
        1021: (404, "Объект не найден"),
        1027: (400, "Пустое тело запроса"),
        1035: (400, "Неверный формат даты в параметре filter"),
        1036: (500, "Ошибка сервера"),
        1037: (400, "Неверное значение заголовка 'Content-Type'"),
        1044: (413, "Слишком большой запрос"),
        1045: (403, "Нет прав на просмотр объекта"),
        1047: (412, "Нельзя изменить syncId"),
        1048: (429, "Слишком много неудачных попыток входа"),
        1049: (429, "Превышено ограничение на количество запросов в единицу времени"),
        1052: (400, "Неверный формат идентификатора"),
        1056: (401, "Ошибка аутентификации: Неправильный пароль или имя пользователя или ключ авторизации"),
        1061: (403, "Доступ к API запрещен"),
        1062: (400, "Неверное значение заголовка 'Accept'. Укажите значение 'application/json;charset=utf-8'"),
        1065: (409, "Объект изменен параллельным запросом"),
        1070: (403, "Операция недоступна на текущем тарифе"),
        1073: (429, "Превышено ограничение на количество параллельных запросов"),
        1074: (503, "Сервис на обслуживании"),
        1075: (403, "Нет прав на объект"),
        1083: (500, "Ошибка сервера"),
        1088: (504, "Превышено время выполнения массового запроса"),
        1089: (400, "Неверное значение параметра expand"),
        1095: (503, "Сервис временно недоступен"),
        2000: (400, "Ошибка формата JSON"),
        2006: (400, "Превышена глубина вложенности JSON"),
        2007: (413, "Слишком много объектов в массиве"),
        2013: (412, "Поле meta указывает на несуществующий или чужой объект"),
        2022: (413, "Слишком много объектов в массиве"),
        3013: (412, "В массиве несколько элементов с одним идентификатором"),
        3033: (412, "Объект принадлежит другому родителю"),
        3042: (400, "Параметр fields принимает одно значение"),
        3043: (400, "Неизвестное значение параметра fields"),
        15000: (412, "Модификация с такими характеристиками уже есть"),
        44000: (405, "Метод POST не поддерживается"),
        44001: (405, "Метод PUT не поддерживается"),
        44002: (405, "Метод DELETE не поддерживается"),
        47000: (403, "Операция недоступна на текущем тарифе"),
        51001: (412, "Изображение без содержимого"),
        51002: (412, "Содержимое должно быть изображением jpg или png в base64"),
        51003: (412, "Недостаточно места в хранилище аккаунта"),
        51004: (412, "Размер изображения не должен превышать {limit} Мб"),
        51005: (412, "Изображение без имени файла"),
        51006: (412, "Количество изображений не должно превышать {limit}"),
        51007: (503, "Файловое хранилище недоступно"),
    }
)
IMAGE_CODES = range(51001, 51007)


@dataclass
class RemapRefusalError(Exception):
    """A request, or one element of a bulk, that is answered with an error; without a code the status says all."""

    code: int | None
    text: str = ""
    status: int = 0
    parameter: str = ""
    more: Json = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def status_of(self, image_status: int = 412) -> int:
        """The status it is answered with; `image_status` is that of the image errors."""
        if self.status:
            return self.status
        if self.code in IMAGE_CODES:
            return image_status
        return 400 if self.code is None else _CODES[self.code][0]

    def body(self) -> Json:
        """The error object: one error."""
        error: Json = {"error": self.text or _CODES[self.code or 0][1], **self.more}
        if self.code is not None:
            error |= {"code": self.code, "moreInfo": f"{_MORE}{self.code}"}
        if self.parameter:
            error["parameter"] = self.parameter
        return {"errors": [error]}


def refused(code: int, parameter: str = "", **numbers: object) -> RemapRefusalError:
    """The error with this code; `numbers` are what its text names."""
    return RemapRefusalError(code, _CODES[code][1].format(**numbers), parameter=parameter)


def malformed(text: str, parameter: str = "", status: int = 400) -> RemapRefusalError:
    """An error whose code no source gives: it has none."""
    return RemapRefusalError(None, text, status, parameter)


def page(status: int, title: str) -> SentReply:
    """A page of HTML, as the proxy before the API writes it."""
    body = (
        f"<html>\r\n<head><title>{status} {title}</title></head>\r\n<body><h1>{status} {title}</h1></body>\r\n</html>"
    )
    return SentReply(status, body.encode(), content_type="text/html")
