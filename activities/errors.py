"""What an error of the rules means to Temporal: a planned one is final, everything else is tried again."""

from typing import Any

import structlog
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory, FailureError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from activities.ports import ProviderRefused, StoreRefused
from billing.errors import BillingError

LONGEST_MESSAGE = 2000

log = structlog.get_logger()


class ErrorTranslator(Interceptor):
    """Turns a BillingError into a failure that Temporal does not retry, with its code as the type."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Part of Temporal's interceptor protocol."""
        return _Translating(next)


class _Translating(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        try:
            return await self.next.execute_activity(input)
        except BillingError as error:
            raise to_application_error(error) from error
        except (ProviderRefused, StoreRefused) as error:
            raise ApplicationError(
                str(error)[:LONGEST_MESSAGE], type=type(error).__name__, non_retryable=True
            ) from error
        except FailureError:
            raise
        except Exception as error:
            # With its chain of stack traces it would be too long for the server, which then shows nothing of it.
            log.warning("activity.failed", exc_info=error)
            raise ApplicationError(str(error)[:LONGEST_MESSAGE], type=type(error).__name__) from None


def to_application_error(error: BillingError) -> ApplicationError:
    """The failure that carries code, message, field and details to whoever sent the command."""
    expected = error.code != "invariant_broken"
    return ApplicationError(
        error.message[:LONGEST_MESSAGE],
        {**error.details, "field": error.field},
        type=error.code,
        non_retryable=True,
        category=ApplicationErrorCategory.BENIGN if expected else ApplicationErrorCategory.UNSPECIFIED,
    )
