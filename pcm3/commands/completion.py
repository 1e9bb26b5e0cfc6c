"""What a shell needs to complete a command line."""

import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout, suppress

from pcm3.commands.options import parse

_SCRIPT = """\
# Completion of pcm3 in bash and zsh.
[ -z "$ZSH_VERSION" ] || { autoload -U +X compinit bashcompinit && compinit && bashcompinit; }
_pcm3() {
    local words current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"
    local command="${COMP_WORDS[1]}"
    [ "$command" != evaluate ] || command="evaluate ${COMP_WORDS[2]}"
    case "$COMP_CWORD $command $before" in
    1\\ *) words="COMMANDS" ;;
    2\\ evaluate\\ *) words="TASKS" ;;
CHOICES
    *)  [ "${current#-}" = "$current" ] || case "$command" in
OPTIONS
        esac ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _pcm3 pcm3"""
_OPTION = re.compile(r"(--[a-z][\w.-]*)(?: \{([\w,.-]+)\})?")


def completion_command(arguments: Sequence[str]) -> None:
    """What makes bash and zsh complete commands, tasks and options."""
    from pcm3.cli import COMMANDS  # noqa: PLC0415
    from pcm3.evaluation.tasks.registry import TASKS  # noqa: PLC0415
    from pcm3.methods.catalog import PRESETS  # noqa: PLC0415

    def options() -> None:
        """Print a script for bash and zsh; the example puts it where bash looks for it."""
        tasks = [*TASKS, "all"]
        asked = {name: [name] for name in COMMANDS if name != "evaluate"}
        asked |= {f"evaluate {task}": ["evaluate", task] for task in tasks}
        choices, known = [f'    *\\ pretrain\\ --preset) words="{" ".join(PRESETS)}" ;;'], []
        for title, (command, *words) in asked.items():
            found = dict(_options(COMMANDS[command], [*words, "--help-all"]))
            escaped = title.replace(" ", "\\ ")
            known.append(f'        {escaped}) words="{" ".join(found)}" ;;')
            for option, values in found.items():
                if values:
                    choices.append(
                        f'    *\\ {escaped}\\ {option}) words="{values.replace(",", " ")}" ;;'
                    )
        script = _SCRIPT.replace("COMMANDS", " ".join(COMMANDS)).replace("TASKS", " ".join(tasks))
        print(script.replace("CHOICES", "\n".join(choices)).replace("OPTIONS", "\n".join(known)))

    parse(
        options,
        "completion",
        arguments,
        "pcm3 completion > ~/.local/share/bash-completion/completions/pcm3",
    )


def _options(
    command: Callable[[Sequence[str]], None], arguments: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """The options that a command's help names, each with its choices."""
    page, columns = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"  # wide, but of one column
    try:
        with redirect_stdout(page), suppress(SystemExit):
            command(arguments)
    finally:
        del os.environ["COLUMNS"]
        if columns is not None:
            os.environ["COLUMNS"] = columns
    for line in page.getvalue().splitlines():
        if line.strip("│| ").startswith("-"):
            yield from _OPTION.findall(line)
