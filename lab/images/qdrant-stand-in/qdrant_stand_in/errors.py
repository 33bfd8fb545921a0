"""Errors that reach a client, with Qdrant's status codes and wording (lib/storage errors.rs)."""


class ApiError(Exception):
    """A refused request: `status` is the HTTP code, the message is shown as status.error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def bad_json(detail: str) -> ApiError:
    return ApiError(400, f"Format error in JSON body: {detail}")


def invalid(detail: str) -> ApiError:
    return ApiError(422, f"Validation error in JSON body: {detail}")


def wrong_input(detail: str) -> ApiError:
    return ApiError(400, f"Wrong input: {detail}")


def not_found(detail: str) -> ApiError:
    return ApiError(404, f"Not found: {detail}")


def not_implemented(what: str) -> ApiError:
    return ApiError(501, f"The lab stand-in for Qdrant does not implement {what}")
