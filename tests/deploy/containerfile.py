"""The Containerfile as data, so that tests can hold it to rules and do its steps where there is no builder."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CONTAINERFILE = ROOT / "deploy" / "Containerfile"


@dataclass(frozen=True)
class Instruction:
    """One instruction: its keyword, its `--flags`, and what follows them."""

    keyword: str
    flags: tuple[str, ...]
    rest: str

    def exec_form(self) -> list[str]:
        """The command of an instruction that has it as a JSON list; any other needs a shell, and fails."""
        words = json.loads(self.rest)
        assert all(isinstance(word, str) for word in words), self.rest
        return list(words)

    def pairs(self) -> dict[str, str]:
        """What an ENV, LABEL or ARG sets."""
        return dict(word.partition("=")[::2] for word in shlex.split(self.rest))


@dataclass(frozen=True)
class Stage:
    """One FROM and what follows it."""

    base: str
    name: str
    instructions: tuple[Instruction, ...]

    def all(self, keyword: str) -> list[Instruction]:
        return [one for one in self.instructions if one.keyword == keyword]

    def last(self, keyword: str) -> Instruction:
        return self.all(keyword)[-1]


def instructions(text: str) -> list[Instruction]:
    """Every instruction, with its continued lines joined and comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found = []
    for line in "\n".join(lines).replace("\\\n", "").splitlines():
        if not line.strip():
            continue
        keyword, _, rest = line.strip().partition(" ")
        flags = []
        while match := re.match(r"\s*(--\S+)\s+", rest):
            flags.append(match[1])
            rest = rest[match.end() :]
        found.append(Instruction(keyword.upper(), tuple(flags), rest.strip()))
    return found


def stages(text: str) -> list[Stage]:
    """The stages in order; what is before the first FROM belongs to none."""
    found: list[Stage] = []
    for one in instructions(text):
        if one.keyword == "FROM":
            base, _, name = one.rest.partition(" AS ")
            found.append(Stage(base, name, ()))
        elif found:
            last = found[-1]
            found[-1] = Stage(last.base, last.name, (*last.instructions, one))
    return found


@dataclass(frozen=True)
class Settings:
    """What an image says about how it runs."""

    env: dict[str, str]
    user: str
    workdir: str
    command: list[str]
    health: list[str]
    stop_signal: str
    ports: list[str]


def settings(stage: Stage) -> Settings:
    """What the last stage says."""
    env: dict[str, str] = {}
    for one in stage.all("ENV"):
        env |= one.pairs()
    health = stage.last("HEALTHCHECK").rest
    assert health.startswith("CMD ")
    return Settings(
        env,
        stage.last("USER").rest,
        stage.last("WORKDIR").rest,
        stage.last("ENTRYPOINT").exec_form() + stage.last("CMD").exec_form(),
        json.loads(health.removeprefix("CMD ")),
        stage.last("STOPSIGNAL").rest,
        stage.last("EXPOSE").rest.split(),
    )
