"""What a person reads who typed a command wrong: click's words, in the language that is spoken."""

import click

from imagesync_pipelines.languages import N_, _, retold

# How click says what is wrong: it is retold as a sentence of ours. What --help prints stays English.
OF_CLICK = (
    N_("No such option {option}."),
    N_("No such command {command}."),
    N_("Did you mean {option}?"),
    N_("(Did you mean one of: {options}?)"),
    N_("Missing argument {argument}."),
    N_("Missing argument {argument}. Choose from:\n\t{choices}"),
    N_("Missing option {option}."),
    N_("Missing option {option}. Choose from:\n\t{choices}"),
    N_("Missing command."),
    N_("Got unexpected extra argument ({arguments})"),
    N_("Got unexpected extra arguments ({arguments})"),
    N_("Option {option} requires an argument."),
    N_("Option {option} does not take a value."),
    N_("Invalid value for {option}: {why}"),
    N_("{value} is not one of {choices}."),
    N_("{value} is not a valid integer."),
    N_("{value} is not a valid float."),
    N_("{value} is not a valid integer range."),
    N_("{value} is not a valid float range."),
    N_("{value} is not in the range {bounds}."),
    N_("File {path} does not exist."),
    N_("Directory {path} does not exist."),
    N_("Path {path} does not exist."),
    N_("File {path} is a directory."),
    N_("Directory {path} is a file."),
)


def show(error: click.UsageError) -> None:
    """Print to standard error how a command is used, where its help is, and what was wrong, as click does."""
    context = error.ctx
    if context is not None:
        click.echo(_("Usage: {usage}").format(usage=context.get_usage().removeprefix("Usage: ")), err=True)
        names = context.command.get_help_option_names(context)
        if context.command.get_help_option(context) is not None:
            hint = _("Try '{command} {option}' for help.")
            click.echo(hint.format(command=context.command_path, option=max(names, key=len)), err=True)
        click.echo(err=True)
    click.echo(_("Error: {message}").format(message=retold(error.format_message())), err=True)
