"""Parts of the pages: `show_*` draws, `choose_*` draws a control and returns the choice, `cached_*` computes."""
