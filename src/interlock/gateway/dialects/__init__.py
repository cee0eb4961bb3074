"""Other APIs than chat completions, spoken by translating: their requests into chat requests, chat answers into theirs.

One file a dialect, pure functions over JSON. What a dialect can say and chat cannot is refused with the field's name,
never dropped in silence.
"""
