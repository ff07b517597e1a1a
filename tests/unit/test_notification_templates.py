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
        ("{{ 'x'.ljust(99999999) }}", "str.ljust is not for templates"),
        ("{{ ('x' | attr('center'))(99999999) }}", "str.center is not for templates"),
        ("{{ (1).to_bytes(99999999, 'big') }}", "not for templates"),
        ("{{ 'x' | center(99999999) }}", "No filter|cannot be read"),
        ("{{ 'x' | indent(99999999, true) }}", "more than 1000"),
        ("{{ '{:99999999}'.format('x') }}", "a pattern asks for more room"),
        ("{{ '{:{}}'.format('x', 99999999) }}", "a pattern asks for more room"),
        ("{{ '%99999999d' % 1 }}", "a pattern asks for more room"),
        ("{{ '%*d' % (99999999, 1) }}", "a pattern asks for more room"),
        ("{{ '%99999999d' | format(1) }}", "a pattern asks for more room"),
        ("{{ 1.5 | round(99999999, 'floor') }}", "more than 1000"),
        ("{{ 'x' | batch(99999999, 'x') | list }}", "more than 1000"),
        ("{{ {'a': 1} | tojson(99999999) }}", "more than 1000"),
        ("{{ lipsum(99999) }}", "undefined"),
        ("{% set x = 'word' %}" + "{% set x = x ~ x %}" * 30 + "{{ x }}", "characters"),
        ("{% set x = 'word' %}" + "{% set x = x + x %}" * 30 + "{{ x }}", "characters"),
        ("{% set x = 'word' %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 30 + "{{ x }}", "characters"),
        ("{% set x = 'word' %}" + "{% set x = x | replace('w', x) %}" * 40 + "{{ x }}", "characters"),
        ("{% set x = 'word' %}" + "{% set x = x.replace('w', x ~ x) %}" * 40 + "{{ x }}", "characters"),
        ("{% set x = words * 1 %}", "for numbers"),
        ("{% set x = ['word'] %}" + "{% set x = [x, x] %}" * 40 + "{{ x }}", "more than 200000 values"),
        ("{% set x = ['word'] %}" + "{% set x = x + x %}" * 40 + "{{ x }}", "more than 200000 values"),
        ("{% set x = ['word'] %}" + "{% set x = dict(a=x, b=x) %}" * 40 + "{{ x }}", "more than 200000 values"),
        ("{% set x = namespace() %}" + "{% set x = namespace(a=x, b=x) %}" * 40 + "{{ x }}", "a Namespace is no text"),
        ("{% set x = namespace() %}" + "{% set x = namespace(a=x, b=x) %}" * 40 + "{{ x|string }}", "Namespace"),
        ("{% set x = namespace() %}" + "{% set x = namespace(a=x, b=x) %}" * 40 + "{{ '%s' % x }}", "Namespace"),
        ("{% set x = namespace() %}" + "{% set x = namespace(a=x, b=x) %}" * 40 + "{{ [x]|string }}", "Namespace"),
        ("{% set n = namespace(x=99) %}{% for a in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}", "a number that"),
        ("{% for a in range(999) %}{% set x = range(9999) | list | sum %}{% endfor %}", "more than 20000 steps"),
        ("{% for a in words recursive %}{{ loop(words) }}{% endfor %}", "more than 20000 steps|calls itself"),
        (
            "{% macro f() %}" + "x" * 9000 + "{% endmacro %}{% set x %}{% for a in range(9999) %}{{ f() }}{% endfor %}"
            "{% endset %}",
            "characters",
        ),
    ],
)
def test_what_a_template_may_not_do_is_an_error_and_no_harm(source: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Template(source).render(words="word " * 100, names=["a", "b"])


@pytest.mark.parametrize("word", ["if x", "for x in names"])
def test_what_python_does_not_nest_cannot_be_read(word: str) -> None:
    nested = f"{{% {word} %}}" * 100 + f"{{% end{word[:3].strip()} %}}" * 100
    with pytest.raises(ValueError, match="too much in it stands in something else"):
        Template(nested)


@pytest.mark.parametrize("source", ["{{ event.", "{% for %}", "{{ x | no_such_filter }}"])
def test_what_cannot_be_read_is_said_before_anything_is_told(source: str) -> None:
    with pytest.raises(ValueError, match="the template cannot be read, line 1: "):
        Template(source)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ names | join(', ') | upper }}", "A, B"),
        ("{{ '%.1f %%' | format(12.345) }} {{ '{:>6}'.format('x') }}", "12.3 %      x"),
        ("{{ words.split() | first | replace('w', 'W') }}", "Word"),
        ("{% for a, b in {'x': 1}.items() %}{{ a }}={{ b + 1 }}{% endfor %}", "x=2"),
        (
            "{% set n = namespace(seen=0) %}{% for a in names %}{% set n.seen = n.seen + 1 %}{% endfor %}{{ n.seen }}",
            "2",
        ),
        ("{% for a in [[1, []]] recursive %}{{ a[0] }}{{ loop(a[1]) }}{% endfor %}", "1"),
        ("{{ {'names': names, 'none': none} | tojson }}", '{"names": ["a", "b"], "none": null}'),
        ("{{ names | map('upper') | join('-') }}{{ names | length }}{{ names[0] ~ 1 }}", "A-B2a1"),
    ],
)
def test_what_templates_are_for_works(source: str, text: str) -> None:
    assert Template(source).render(words="word " * 100, names=["a", "b"]) == text


def test_a_template_says_what_it_wants_to_be_handed() -> None:
    template = Template("{{ rule }}{% for a in range(2) %}{{ a }}{{ value }}{% endfor %}")
    assert template.names == {"rule", "value"}


def test_what_is_not_there_is_empty_where_nobody_is_strict() -> None:
    assert Template("<{{ labels.nothing }}>", strict=False).render(labels={}) == "<>"
