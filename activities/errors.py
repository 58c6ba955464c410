"""What an error of the rules means to Temporal: a planned one is final, everything else is tried again."""

from typing import Any

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from activities.ports import ProviderRefused, StoreRefused
from billing.errors import BillingError

LONGEST_MESSAGE = 8000


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
