"""Find out why a shell command is risky, independently of the model that wrote it."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple


class RiskRule(NamedTuple):
    """A reason, and the programs that it applies to, separated by spaces; `git:push` is a program with a subcommand.

    With `letters` or `marks` it applies only if an argument is a short flag with one of the letters or begins with a
    mark; with `safe_letters` only if no argument is a short flag with one of those letters.
    """

    reason: str
    programs: str
    letters: str = ""
    marks: tuple[str, ...] = ()
    safe_letters: str = ""

    def applies(self, arguments: Sequence[str]) -> bool:
        """True if one of the programs is risky with these arguments."""
        if self.safe_letters:
            return not _has_letter(arguments, self.safe_letters)
        if not (self.letters or self.marks):
            return True
        return _has_letter(arguments, self.letters) or any(word.startswith(self.marks) for word in arguments)


class Call(NamedTuple):
    """A program that the command runs or may run: its name without the folder, its arguments, the text before it."""

    name: str
    arguments: tuple[str, ...]
    separator: str


def _split(words: str) -> frozenset[str]:
    return frozenset(words.split())


DELETES, OVERWRITES, DISK = "deletes files", "overwrites files", "changes disks or partitions"
RUNS_TEXT, DOWNLOADS = "runs text as a command", "downloads code and runs it"
SQL, ENDLESS = "deletes data from a database", "starts processes without limit"
REMOTE, STOPS = "deletes or changes things on a server", "stops or removes containers or services"
SENDS, ALIASES = "sends data to another machine", "defines an alias for a program"
SETTINGS = "changes system or user settings"
# fmt: off
RULES = (
    RiskRule(DELETES, "rm rmdir unlink shred srm wipe rimraf remove-item del erase rd ri git:rm git:clean"),
    RiskRule("runs as another user", "sudo sudoedit doas su pkexec run0 runuser chroot"),
    RiskRule(
        DISK,
        "dd ddrescue mkfs mke2fs mkswap newfs wipefs cfdisk sgdisk blkdiscard badblocks cryptsetup lvremove vgremove "
        "pvremove fsck e2fsck tune2fs resize2fs btrfs:delete format-volume",
    ),
    RiskRule(DISK, "fdisk sfdisk gdisk parted", safe_letters="l"),
    RiskRule(DISK, "hdparm", "swWyY", ("--security", "--trim", "--fallocate", "--make-bad")),
    RiskRule(DISK, "mdadm", "CfrS", ("--create", "--zero", "--fail", "--remove", "--stop", "--grow")),
    RiskRule(DISK, "zpool zfs diskutil", marks=(
        "destroy", "rollback", "create", "remove", "detach", "labelclear", "erase", "partition", "delete", "zero",
    )),
    RiskRule("stops the computer", "shutdown reboot halt poweroff kexec"),
    RiskRule("stops the computer", "init telinit", marks=("0", "6")),
    RiskRule(
        "stops the computer or a service", "systemctl",
        marks=("poweroff", "reboot", "halt", "kexec", "stop", "disable", "mask", "kill", "isolate", "rescue", "emerg",
               "restart"),
    ),
    RiskRule("stops the computer or a service", "service launchctl", marks=("stop", "restart", "unload", "bootout")),
    RiskRule("kills processes by name", "killall killall5 pkill skill xkill"),
    RiskRule("kills processes that another command finds", "kill xargs", marks=("$", "kill")),
    RiskRule("kills processes that another command finds", "fuser", "k", ("--kill",)),
    RiskRule("changes the modes or owners of many files", "chmod chown chgrp chattr setfacl", "R", ("--recursive",)),
    RiskRule("lets everyone change files, or run them as their owner", "chmod", marks=(
        "777", "0777", "666", "a+w", "a+rw", "o+w", "o+rw", "+s", "u+s", "g+s", "47", "67", "27",
    )),
    RiskRule(OVERWRITES, "mv cp ln install rename", "f", ("--force", "/dev/null", "/dev/zero")),
    RiskRule(OVERWRITES, "truncate sponge fallocate"),
    RiskRule(OVERWRITES, "tee", safe_letters="a"),
    RiskRule(OVERWRITES, "sort", "o", ("--output",)),
    RiskRule(OVERWRITES, "gzip gunzip bzip2 bunzip2 xz unxz zstd", "f", ("--force",)),
    RiskRule(OVERWRITES, "unzip", "o"),
    RiskRule(OVERWRITES, "ffmpeg", "y"),
    RiskRule(DELETES, "tar zip", marks=("--remove-files", "-m", "--move")),
    RiskRule(RUNS_TEXT, "tar", marks=("--checkpoint-action", "--to-command", "--use-compress-program")),
    RiskRule("changes files in place", "sed gsed awk gawk perl ruby", "i", ("--in-place",)),
    RiskRule("changes files in place", "ed ex mogrify patch"),
    RiskRule(DELETES, "find", marks=("-delete", "-fprint", "-fls")),
    RiskRule(DELETES, "rsync", marks=("--delete", "--del", "--remove-source-files")),
    RiskRule("overwrites or deletes pushed commits", "git:push", "fd", (
        "--force", "--mirror", "--delete", "--prune", "+", ":",
    )),
    RiskRule("discards changes in the repository", "git:reset", marks=("--hard", "--merge")),
    RiskRule("discards changes in the repository", "git:checkout git:switch", "fBC", (
        "--force", "--", ".", "--discard",
    )),
    RiskRule("discards changes in the repository", "git:restore git:filter-branch git:filter-repo git:prune"),
    RiskRule("discards changes in the repository", "git:branch git:tag git:update-ref", "dD", ("--delete",)),
    RiskRule("discards changes in the repository", "git:stash git:reflog git:worktree", marks=(
        "drop", "clear", "expire", "delete", "remove",
    )),
    RiskRule("discards changes in the repository", "git:gc", marks=("--prune",)),
    RiskRule("discards changes in the repository", "svn:revert hg:revert hg:strip hg:purge"),
    RiskRule("discards changes in the repository", "hg", "C", ("--clean",)),
    RiskRule(RUNS_TEXT, "git", marks=("alias.", "core.pager=", "core.editor=", "core.sshcommand=")),
    RiskRule(STOPS, "docker:rm docker:rmi docker:prune docker:kill docker:remove docker:stop docker:restart"),
    RiskRule(STOPS, "podman:rm podman:rmi podman:prune podman:kill podman:stop podman:restart"),
    RiskRule(STOPS, "pm2:delete pm2:kill pm2:stop tmux:kill-server tmux:kill-session"),
    RiskRule("gives a container root privileges", "docker podman", marks=("--privileged",)),
    RiskRule(STOPS, "docker:down docker-compose:down podman:down", "v", ("--volumes", "--rmi")),
    RiskRule(
        REMOTE,
        "kubectl:delete kubectl:drain terraform:destroy tofu:destroy pulumi:destroy helm:uninstall helm:delete "
        "vagrant:destroy gcloud:delete az:delete gh:delete aws:rm aws:rb aws:terminate-instances npm:publish "
        "npm:unpublish gh:merge cargo:publish twine:upload redis-cli:flushall redis-cli:flushdb mysqladmin:drop "
        "dropdb dropuser",
    ),
    RiskRule(REMOTE, "terraform:apply tofu:apply", marks=("-auto-approve",)),
    RiskRule(REMOTE, "aws", marks=("delete-", "--delete")),
    RiskRule("removes software", (
        "apt apt-get aptitude dnf yum zypper brew snap flatpak pip pip3 npm yarn pnpm cargo gem conda mamba pipx uv apk"
    ), marks=("remove", "purge", "autoremove", "erase", "uninstall", "del")),
    RiskRule("removes software", "pacman yay paru", "R", ("--remove",)),
    RiskRule("removes software", "dpkg rpm", "rPe", ("--remove", "--purge", "--erase")),
    RiskRule("deletes keys", "gpg gpg2", marks=("--delete",)),
    RiskRule(SETTINGS, "defaults gsettings dconf", marks=("delete", "write", "reset")),
    RiskRule(SETTINGS, "sysctl", "w", ("--write", "--load", "--system")),
    RiskRule("changes the network", "ip:down ip:del ip:delete ip:flush ifconfig:down nmcli:delete nmcli:down"),
    RiskRule("changes users or passwords", "userdel deluser usermod groupdel passwd chpasswd chsh visudo vipw"),
    RiskRule("changes the firewall or the kernel", "iptables ip6tables nft ufw pfctl rmmod insmod modprobe nvram"),
    RiskRule("replaces scheduled commands", "crontab", safe_letters="l"),
    RiskRule("clears the shell history", "history", "cd", ("clear", "delete")),
    RiskRule("lets others run commands here", "nc ncat netcat socat", "ec", ("--exec", "--sh-exec", "exec:", "sys")),
    RiskRule(SENDS, "curl", "dFT", ("--data", "--form", "--upload-file", "--json")),
    RiskRule(REMOTE, "curl", marks=("DELETE", "PUT", "POST", "PATCH", *(
        f"{flag}{method}" for flag in ("-X", "--request=") for method in ("DELETE", "PUT", "POST", "PATCH")
    ))),
    RiskRule(SENDS, "mail mailx mutt sendmail"),
    RiskRule(SENDS, "wget", marks=("--post", "--body", "--method")),
    RiskRule(RUNS_TEXT, "eval invoke-expression iex fc"),
    RiskRule(RUNS_TEXT, "at batch", safe_letters="l"),
    RiskRule(RUNS_TEXT, "vi vim nvim", marks=("!", "+!", ":!", "-es", "+wq", ":wq", "+x", ":x")),
)
# fmt: on
DEVICE = re.compile(r"/dev/(?:sd|hd|vd|xvd|nvme|mmcblk|r?disk|mapper/|loop|md|dm-|mem\b|kmem|port\b)")
# Text that is risky anywhere in a command; it is searched for in lower case and without quotes.
TEXTS = {
    re.compile(r"/dev/(?:tcp|udp)/"): "connects a program to the network",
    re.compile(r"\b(?:drop\s{1,20}(?:table|database|schema|user|view|index)|truncate\s{1,20}table)\b"): SQL,
    re.compile(r"\bdelete\s{1,20}from\b|\bupdate\s{1,20}[\w.`]{1,60}\s{1,20}set\b"): SQL,
    re.compile(r"\b(?:db:(?:drop|reset)|migrate:(?:fresh|reset)|dropdatabase|flushall|flushdb)\b|\.drop\("): SQL,
    re.compile(r"\{[^{}]{0,300}\bprintf?\b[^;{}|]{0,200}>(?![\s&]{0,9}(?:\d|/dev/|\())"): OVERWRITES,
    re.compile(r"\bopen\s?\([^()]{0,200}\s[wax]b?\+?\s?\)|\bwrite_(?:text|bytes)\b|\bwritefile"): OVERWRITES,
    re.compile(r"\b(?:rmtree|unlink(?:sync)?|rm(?:dir)?sync|removedirs|fileutils)\b"): DELETES,
    re.compile(r"\b(?:\(os\)\.(?:remove|rmdir|unlink)|os\.(?:remove|rmdir)|file\.delete|fs\.rm)\b"): DELETES,
    re.compile(r"\b(?:os\.system|subprocess|popen|child_process|execsync|pty\.spawn|system\s?\(|exec\s?\()"): RUNS_TEXT,
    re.compile(r"\bfork\b.{0,20}\bwhile\b|\bwhile\b.{0,40}\bfork\b|\bos\.fork\b"): ENDLESS,
    re.compile(r"\bwhile\s{1,20}(?:true|:|1|\[\s?1)[\s\S]{0,400}&\s{0,20}(?:done|end)\b"): ENDLESS,
}
SHELLS = _split("sh bash zsh fish dash ksh mksh ash csh tcsh pwsh source .")
INTERPRETERS = _split("python python2 python3 perl ruby node deno bun php lua osascript")
DOWNLOADERS = _split("curl wget fetch http https xh aria2c lwp-download scp sftp ftp iwr invoke-webrequest")
# Programs that run another program, which is among their arguments.
RUNNERS = _split(
    "sudo doas env command builtin exec nohup nice ionice chrt taskset stdbuf setsid time timeout xargs "
    "parallel busybox toybox ssh docker podman kubectl lxc nsenter unshare watch strace ltrace script screen "
    "tmux su runuser flock systemd-run entr caffeinate unbuffer chronic chroot pkexec run0 coproc noglob "
    "nocorrect trap"
)
# Programs that only read files and do not run quoted arguments; + and _ end the command of find -exec.
READERS = _split(
    "grep egrep fgrep zgrep rg ag ack echo printf cat head tail wc sort uniq cut tr nl column ls cd pwd find true "
    "lsblk df du blkid file stat findmnt read basename dirname which type whatis apropos + _"
)
READING_GIT_COMMANDS = _split("commit log grep show diff add tag status blame")
MAX_ARGUMENTS = 200
FINDERS = {"find": ("-exec", "-execdir", "-ok", "-okdir"), "fd": ("-x", "-X", "--exec", "--exec-batch")}
KEYWORDS = _split("if then elif else while until do for in case select ! time begin and or not function")
HARMLESS_TARGETS = re.compile(r"(?:/dev/(?:null|stdout|stderr|tty|fd/)|\d{1,3}$|-$)")
SYSTEM_TARGETS = re.compile(r"/etc/|/boot/|/usr/|/dev/|/proc/|/sys/|(?:.{0,200}/)?\.[^./]")
_REDIRECTION = re.compile(r"(?:\d{1,3}|&)?(>>|>\||>&|>!|<>|>)[ \t]{0,20}([^\s;&|()<>]{0,500})")
_INPUT = re.compile(r"<{1,3}-?[ \t]{0,20}[^\s;&|()<>]{1,500}")
_SEPARATOR = re.compile(r"(\|\||&&|\|&|[;&|\n(){}`])")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w{0,100}\+?=")
_SETS_VARIABLE = re.compile(r"(?:^|[\s;&|({])[A-Za-z_]\w{0,100}\+?=[^\s]{0,100}[\"']")
_FUNCTION = re.compile(r"([^\s(){};&|]{1,60})[ \t]{0,9}\([ \t]{0,9}\)|\bfunction[ \t]{1,9}([^\s(){};&|]{1,60})")
_ESCAPES = re.compile(r"\\(?:[xuU][0-9A-Fa-f]|[0-7]{2})")
_QUOTED = re.compile(r"\\.|\$'(?:\\.|[^'\\])*'|'[^']*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
_SPECIAL = re.compile(r"[\s<>;&|(){}`*?\[]")
_BRACED_NAME = re.compile(r"\$\{(\w{1,100})[^{}\n]{0,200}\}")


def find_risks(command: str) -> list[str]:
    """Return the reasons why a command is risky; an empty list does not mean that it is harmless.

    A command of programs that only read is parsed as in a shell, so that they can search for `rm`. Any other command
    is parsed three times: as in a shell, with its quotes removed, and with each quoted string as a command. A program
    may run a quoted string, and a false reason costs the user only one more confirmation.
    """
    text = _BRACED_NAME.sub(r"$\1", command.replace("\\\n", "").replace("$IFS", " ").replace("${IFS}", " "))
    joined, unquoted = re.sub(r"[\"'\\]", "", text).replace(",", " "), _read_quotes(text)
    calls = list(_list_calls(unquoted or ""))
    is_reading = unquoted is not None and _only_reads(calls)
    searched = joined
    if unquoted is not None and is_reading:
        joined, searched = unquoted, _QUOTED.sub(" ", text)
    else:
        calls += [*_list_calls(joined), *_list_calls(re.sub(r"[\"'\\]", ";", text))]
    reasons = [rule.reason for call in calls for rule in _find_rules(call)]
    reasons += [reason for pattern, reason in TEXTS.items() if pattern.search(searched.lower())]
    if DEVICE.search(joined.lower()) and (not is_reading or ">" in joined):
        reasons.append(DISK)
    reasons += [*_find_run_texts(calls, joined), *_find_written_files(unquoted, joined, calls)]
    if _has_fork_bomb(joined):
        reasons.append(ENDLESS)
    if _has_hidden_program(joined, text):
        reasons.append("hides which program runs")
    return list(dict.fromkeys(reasons))


def _list_calls(text: str) -> Iterator[Call]:
    """Yield each program of a command; after a program that runs others, every word may be a program."""
    pieces = _SEPARATOR.split(_INPUT.sub(" ", _REDIRECTION.sub(" ", text)))
    for separator, piece in zip(["", *pieces[1::2]], pieces[::2], strict=True):
        words = piece.split()
        while words and (words[0].lower() in KEYWORDS or words[0] == "-p" or _ASSIGNMENT.match(words[0])):
            words.pop(0)
        for index in _find_programs(words):
            yield Call(_name_of(words[index]), tuple(words[index + 1 : index + MAX_ARGUMENTS]), separator)


def _find_programs(words: Sequence[str]) -> Iterator[int]:
    """Yield the indexes of program names among the words of a simple command."""
    is_any = False
    for index, word in enumerate(words):
        before = words[index - 1] if index else ""
        if index == 0 or is_any or before in FINDERS.get(_name_of(words[0]), ()):
            yield index
            is_any = is_any or _name_of(word) in RUNNERS | SHELLS


def _name_of(word: str) -> str:
    """Return the name of a program without its folder, its version and a file system suffix, as in mkfs.ext4."""
    if word.startswith("/etc/"):  # a file such as /etc/passwd
        return word
    name = word.rpartition("/")[2].lower().removeprefix("=") or word
    for prefix in ("mkfs.", "newfs_", "python3."):
        if name.startswith(prefix):
            return prefix.rstrip("._")
    return name


def _find_rules(call: Call) -> Iterator[RiskRule]:
    subcommands = (f"{call.name}:{word.lower()}" for word in call.arguments if not word.startswith("-"))
    names = {call.name, *subcommands}
    rules = (rule for name in names for rule in _rules_by_program().get(name, ()))
    yield from (rule for rule in rules if rule.applies(call.arguments))
    if call.name in ("scp", "rsync") and ":" in "".join(call.arguments[-1:]):
        yield RiskRule(SENDS, call.name)
    if call.name in ("nc", "ncat", "netcat", "telnet") and call.separator == "|":
        yield RiskRule(SENDS, call.name)
    if call.name in ("alias", "hash") and any("=" in word or word == "-p" for word in call.arguments):
        yield RiskRule(ALIASES, call.name)
    if call.name == "kill" and _ends_everything(call.arguments):
        yield RiskRule("kills all processes", "kill")


@cache
def _rules_by_program() -> dict[str, list[RiskRule]]:
    rules = defaultdict(list)
    for rule in RULES:
        for name in rule.programs.split():
            rules[name].append(rule)
    return rules


def _has_letter(arguments: Sequence[str], letters: str) -> bool:
    flags = [word[1:] for word in arguments if word.startswith("-") and not word.startswith("--")]
    return any(letter in flag for flag in flags for letter in letters)


def _ends_everything(arguments: Sequence[str]) -> bool:
    """True if kill would end all processes, its own process group, or process 1; -1 may also be a signal."""
    has_signal = len(arguments) > 1 and arguments[0].startswith("-")
    return any(word in ("-1", "0", "1") for word in arguments[has_signal:])


def _find_run_texts(calls: Sequence[Call], joined: str) -> Iterator[str]:
    """Yield the reasons why the command runs text that it downloads, or that a shell reads as its input."""
    names = {call.name for call in calls}
    is_runner = bool(names & (SHELLS | {"eval"}) or any(re.match(r"\.{1,2}/", word) for word in joined.split()))
    if names & DOWNLOADERS and (is_runner or (names & INTERPRETERS and "(" in joined) or "chmod" in names):
        yield DOWNLOADS
    for call in calls:
        is_bare = all(word == "-" for word in call.arguments)
        if call.separator in ("|", "|&") and (call.name in SHELLS or (call.name in INTERPRETERS and is_bare)):
            yield RUNS_TEXT
    if names & SHELLS and ("<(" in joined or "<<" in joined):
        yield RUNS_TEXT


def _find_written_files(unquoted: str | None, joined: str, calls: Sequence[Call]) -> Iterator[str]:
    """Yield the reasons why redirections are risky; a quoted > is not one, unless a shell may run the quoted string."""
    is_code = unquoted is None or bool({call.name for call in calls} & (SHELLS | RUNNERS | {"eval"}))
    visible = joined if is_code or unquoted is None else unquoted
    for match in _REDIRECTION.finditer(visible):
        operator, target = match.groups()
        if HARMLESS_TARGETS.match(target) or (not target and visible[match.end() : match.end() + 1] == "("):
            continue
        if operator != ">>":
            yield OVERWRITES
        elif SYSTEM_TARGETS.match(target.replace("~", "")):
            yield SETTINGS


def _read_quotes(text: str) -> str | None:
    """Return a command without quotes and escapes, with _ in place of each special character that they protect.

    Substitutions in double quotes are kept. Return None if a quote is not closed, may be in a comment or a
    here-document, or is the value of a variable, which may run later.
    """
    if "<<" in text or "#" in text or _SETS_VARIABLE.search(text) or re.search(r"[\"']", _QUOTED.sub("", text)):
        return None
    return _QUOTED.sub(_hide_quoted, text)


def _hide_quoted(match: re.Match[str]) -> str:
    quoted = match[0]
    if quoted.startswith("\\"):
        return _SPECIAL.sub("_", quoted[1:])
    inner = quoted.strip("$")[1:-1]
    is_run = quoted.startswith('"') and ("$(" in inner or "`" in inner)
    return inner if is_run else _SPECIAL.sub("_", inner)


def _only_reads(calls: Sequence[Call]) -> bool:
    """True if all programs are known to only read files and not to run quoted strings."""
    return all(
        call.name in READERS or (call.name == "git" and READING_GIT_COMMANDS.issuperset(call.arguments[:1]))
        for call in calls
    )


def _has_fork_bomb(joined: str) -> bool:
    """True if a function calls itself in a pipe or in the background."""
    squeezed = re.sub(r"\s", "", joined)
    names = {name for match in list(_FUNCTION.finditer(joined))[:20] for name in match.groups() if name}
    return any(f"{name}|{name}" in squeezed or f"{name}&" in squeezed for name in names)


def _has_hidden_program(joined: str, text: str) -> bool:
    """True if a variable, a pattern, another command or escapes name the program."""
    if "$'" in text and _ESCAPES.search(text):
        return True
    pieces = re.split(r"\|\||&&|[;&|\n]", joined)
    firsts = [words[0] for piece in pieces if (words := piece.split())]
    return any(
        word.startswith(("$", "`")) or (re.search(r"[*?\[]", word) and re.search(r"[a-z/]", word)) for word in firsts
    )
