"""The door to processes, as far as it goes without starting one."""

from images.run import CommandError, Result, show


def test_secrets_are_masked_where_a_command_is_shown() -> None:
    assert show(["login", "--token", "s3cret", "a b"], ["s3cret"]) == "login --token **** 'a b'"


def test_an_error_keeps_the_end_of_the_output() -> None:
    output = "\n".join(f"line {number}" for number in range(100))
    error = CommandError("bake", "exit code 1", output, Result(1, output, ""))
    assert error.message.startswith("bake: exit code 1\nline 70\n")
    assert error.message.endswith("line 99")
