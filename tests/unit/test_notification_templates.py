"""Templates of operators: what they may see, how long they may take, and how much they may make."""

import pytest

from bers import Template


def test_a_template_makes_a_text_of_what_it_is_handed() -> None:
    assert Template("{% for one in names %}<{{ one }}>{% endfor %}").render(names=["a", "b"]) == "<a><b>"


def test_a_template_is_used_again_and_again_with_all_of_its_time() -> None:
    long = Template("{% for a in range(9000) %}{% endfor %}{{ name }}")
    assert [long.render(name=name) for name in "abc"] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "more than 20000 steps"),
        ("{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}", "calls itself|more than 20000 steps"),
        ("{% for a in range(9999) %}{{ 'x' ~ words }}{% endfor %}", "more than 1048576 characters"),
        ("{{ 'x' * 999999999 }}", "for numbers"),
        ("{{ 9 ** 9 ** 9 }}", "for numbers"),
        ("{{ nothing }}", "undefined"),
        ("{{ words.__class__ }}", "unsafe"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
        ("{{ names.append('c') }}", "unsafe|not safely callable"),
        ("{{ 1 / 0 }}", "division"),
        ("{{ names[5].x }}", "no element|undefined"),
    ],
)
def test_what_a_template_may_not_do_is_an_error_and_no_harm(source: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Template(source).render(words="word " * 100, names=["a", "b"])


@pytest.mark.parametrize("source", ["{{ event.", "{% for %}", "{{ x | no_such_filter }}"])
def test_what_cannot_be_read_is_said_before_anything_is_told(source: str) -> None:
    with pytest.raises(ValueError, match="the template cannot be read, line 1: "):
        Template(source)
