"""Random choices in the widgets of a page, as a browser would send them."""

from random import Random

from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Widget

TEXTS = ("", "0001", "a", "no such clip", "*[<b>", "1" * 40)
KINDS = (
    "selectbox",
    "multiselect",
    "slider",
    "toggle",
    "checkbox",
    "button_group",
    "number_input",
    "text_input",
    "button",
)
LEFT_ALONE = ("Record", "Cancel", "Save the note")  # of other tests: they start processes or write files


def widgets_of(app: AppTest) -> list[Widget]:
    """The widgets that can be used; those of a form wait for its button."""
    found = [node for node in app._tree if isinstance(node, Widget) and node.type in KINDS and not node.disabled]
    return [one for one in found if not one.proto.form_id and getattr(one, "label", "") not in LEFT_ALONE]


def choose(widget: Widget, state: WidgetState, random: Random) -> str:
    """Put a random value of this widget into its state, and describe it."""
    proto, kind = widget.proto, widget.type
    if kind == "button":
        state.trigger_value, value = True, "clicked"
    elif kind in ("toggle", "checkbox"):
        state.bool_value = value = random.random() < 0.5
    elif kind == "text_input":
        state.string_value = value = random.choice(TEXTS)
    elif kind == "number_input":
        ends = int(proto.min), int(proto.max)
        value = random.randint(*ends)
        setattr(state, "int_value" if proto.data_type == proto.INT else "double_value", value)
    elif kind == "slider":
        steps = round((proto.max - proto.min) / proto.step)
        count = len(proto.default)
        at = sorted(random.choice((0, steps, random.randint(0, steps))) for _ in range(count))
        value = [min(proto.max, proto.min + proto.step * step) for step in at]
        state.double_array_value.data[:] = value
    elif kind == "selectbox":
        options = [*proto.options, None] if not proto.HasField("default") else [*proto.options]
        value = random.choice(options)
        state.ClearField("string_value") if value is None else setattr(state, "string_value", value)
    else:
        names = list(proto.options) if kind == "multiselect" else [one.content for one in proto.options]
        single = kind == "button_group" and proto.click_mode == proto.SINGLE_SELECT
        value = random.sample(names, random.randint(0, 1 if single else len(names)))
        state.string_array_value.data[:] = value
    return f"{getattr(widget, 'label', '') or widget.key} = {value!r}"


def take_step(app: AppTest, random: Random) -> str:
    """Choose a value in one of the page's widgets, let the page answer, and return what was chosen."""
    widgets = widgets_of(app)
    if not widgets:
        return "nothing to choose"
    widget = random.choice(widgets)
    states = app._tree.get_widget_states()
    state = next(one for one in states.widgets if one.id == widget.id)
    chosen = choose(widget, state, random)
    app._run(states)
    return chosen
