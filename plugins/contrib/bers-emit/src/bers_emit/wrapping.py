"""What goes around a block of code or a function, with or without ``async``: entered by ``with``, or as a decorator."""

from __future__ import annotations

from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType
    from typing import Any, Callable, TypeVar

    from typing_extensions import Self

    F = TypeVar("F", bound=Callable[..., Any])


class Wrapping(ABC):
    """A context manager that is an asynchronous one too, and a decorator of functions, coroutines and generators."""

    @abstractmethod
    def again(self) -> Wrapping:
        """Another one like this: each call of a function is one of its own."""

    @abstractmethod
    def __enter__(self) -> Any: ...

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def __aenter__(self) -> Self:
        self.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, exc, traceback)

    def __call__(self, function: F) -> F:
        """Wrap a function: it stays what it is to whoever calls it."""
        import functools
        import inspect

        @functools.wraps(function)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            with self.again():
                return await function(*args, **kwargs)

        @functools.wraps(function)
        async def stream(*args: Any, **kwargs: Any) -> Any:
            with self.again():
                async for one in function(*args, **kwargs):
                    yield one

        @functools.wraps(function)
        def generator(*args: Any, **kwargs: Any) -> Any:
            with self.again():
                inner: Generator[Any, Any, Any] = function(*args, **kwargs)
                return (yield from inner)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.again():
                return function(*args, **kwargs)

        wrapped: Any = call
        if inspect.iscoroutinefunction(function):
            wrapped = coroutine
        elif inspect.isasyncgenfunction(function):
            wrapped = stream
        elif inspect.isgeneratorfunction(function):
            wrapped = generator
        done: F = wrapped
        return done
