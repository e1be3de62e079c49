//! What is said of a command line that cannot be: a sentence, then how it should look, in `calicoctl`'s words where it has the
//! command.

use super::Args;
use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;

/// What is wrong with a command line, and how it should look: a sentence, then the usage of the command meant.
pub fn complaint(argv: &[OsString], error: &clap::Error) -> String {
    let given = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let sentence = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            format!("unknown command: \"{}\"\n", given(ContextKind::InvalidSubcommand))
        }
        ErrorKind::UnknownArgument => match given(ContextKind::InvalidArg) {
            flag if flag.starts_with('-') => format!("unknown flag: \"{flag}\"\n"),
            word => format!("unexpected argument: \"{word}\"\n"),
        },
        ErrorKind::InvalidValue if given(ContextKind::InvalidValue).is_empty() => {
            let last = argv.last().map(|arg| arg.to_string_lossy().into_owned()).unwrap_or_default();
            format!("{last} requires argument\n")
        }
        ErrorKind::InvalidValue => {
            format!(
                "invalid value \"{}\" for {}\n",
                given(ContextKind::InvalidValue),
                given(ContextKind::InvalidArg)
            )
        }
        ErrorKind::ArgumentConflict => {
            format!(
                "{} cannot be used with {}\n",
                given(ContextKind::InvalidArg),
                given(ContextKind::PriorArg)
            )
        }
        _ => String::new(),
    };
    sentence + &usage(argv)
}

/// The usage of the command that a command line begins with.
fn usage(argv: &[OsString]) -> String {
    let words: Vec<&str> =
        argv.iter().skip(1).filter_map(|arg| arg.to_str()).filter(|arg| !arg.starts_with('-')).collect();
    const SCOPE: &str =
        "[--config=<CONFIG>] [--namespace=<NS>] [--context=<context>] [--allow-version-mismatch]";
    let body = match words.first().copied() {
        Some(command @ ("apply" | "replace")) => {
            let indent = " ".repeat(13 + command.len());
            format!("{command} --filename=<FILENAME> [--recursive] [--skip-empty]\n{indent}{SCOPE}")
        }
        Some("create") => format!(
            "create --filename=<FILENAME> [--recursive] [--skip-empty]\n                   [--skip-exists] {SCOPE}"
        ),
        Some("get") => "get ( (<KIND> [<NAME>...]) |\n                --filename=<FILENAME> [--recursive] [--skip-empty] )\n                \
             [--output=<OUTPUT>] [--config=<CONFIG>] [--namespace=<NS>] [--all-namespaces] [--export] [--context=<context>] [--allow-version-mismatch]"
            .to_owned(),
        Some("delete") => format!(
            "delete ( (<KIND> [<NAME>...]) |\n                   --filename=<FILE> [--recursive] [--skip-empty] )\n                   [--skip-not-exists] {SCOPE}"
        ),
        Some("patch") => format!("patch <KIND> <NAME> --patch=<PATCH> [--type=<TYPE>] {SCOPE}"),
        Some("label") => format!("label <KIND> <NAME> ( <key>=<value> [--overwrite] | <key> [--remove] )\n                  {SCOPE}"),
        Some("validate") => {
            "validate --filename=<FILENAME> [--recursive] [--skip-empty] [--allow-version-mismatch]".to_owned()
        }
        _ => return rendered_usage(&words),
    };
    format!("Usage:\n  calicoctl {body}\n")
}

/// The usage of a command that `calicoctl` has with other flags, or not at all.
fn rendered_usage(words: &[&str]) -> String {
    let mut command = Args::command();
    command.build();
    let mut found = &mut command;
    for word in words {
        if found.find_subcommand(word).is_none() {
            break;
        }
        found = found.find_subcommand_mut(word).expect("it was found above");
    }
    let usage = found.render_usage().to_string();
    let commands: String = found
        .get_subcommands()
        .map(|command| {
            format!("    {:<12} {}\n", command.get_name(), command.get_about().cloned().unwrap_or_default())
        })
        .collect();
    let usage = usage.trim_start_matches("Usage:").trim();
    match commands.is_empty() {
        true => format!("Usage:\n  {usage}\n"),
        false => format!("Usage:\n  {usage}\n\n{commands}"),
    }
}
