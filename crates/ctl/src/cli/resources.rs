//! The arguments of commands that read and write resources.

use crate::document::Source;

/// Where resources are read from.
#[derive(Clone, Debug, clap::Args)]
pub struct SourceArgs {
    /// File, folder, or - for standard input
    #[arg(short, long, value_name = "FILENAME")]
    pub filename: String,
    /// Read the folders of a folder, too
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// A source without resources is no error
    #[arg(long)]
    pub skip_empty: bool,
}

impl SourceArgs {
    pub fn source(&self) -> Source<'_> {
        Source { filename: &self.filename, recursive: self.recursive, skip_empty: self.skip_empty }
    }
}

#[derive(Clone, Debug, clap::Args)]
pub struct FileArgs {
    #[command(flatten)]
    pub from: SourceArgs,
    /// Namespace of the resources that name none
    #[arg(short, long, value_name = "NS")]
    pub namespace: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct CreateArgs {
    #[command(flatten)]
    pub file: FileArgs,
    /// A resource that exists counts as created
    #[arg(long)]
    pub skip_exists: bool,
}

/// Resources by kind and name, or by file.
#[derive(Clone, Debug, clap::Args)]
pub struct Selection {
    /// Kind, as in `ippool`
    #[arg(required_unless_present = "filename", conflicts_with = "filename")]
    pub kind: Option<String>,
    /// Names; none for all
    pub names: Vec<String>,
    /// File, folder, or - for standard input, that names the resources
    #[arg(short, long, value_name = "FILENAME")]
    pub filename: Option<String>,
    /// Read the folders of a folder, too
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// A source without resources is no error
    #[arg(long)]
    pub skip_empty: bool,
    /// Namespace of the resources
    #[arg(short, long, value_name = "NS")]
    pub namespace: Option<String>,
}

impl Selection {
    /// Where the resources are named, if by file.
    pub fn source(&self) -> Option<Source<'_>> {
        let filename = self.filename.as_deref()?;
        Some(Source { filename, recursive: self.recursive, skip_empty: self.skip_empty })
    }
}

#[derive(Clone, Debug, clap::Args)]
pub struct GetArgs {
    #[command(flatten)]
    pub selection: Selection,
    /// ps, wide, yaml, json, custom-columns=HEADING,…, go-template=TEXT, go-template-file=FILE
    #[arg(short, long, default_value = "ps")]
    pub output: String,
    /// Resources of all namespaces
    #[arg(short = 'A', long, visible_short_alias = 'a')]
    pub all_namespaces: bool,
    /// Leave out what belongs to this cluster only
    #[arg(long)]
    pub export: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub struct DeleteArgs {
    #[command(flatten)]
    pub selection: Selection,
    /// A resource that does not exist counts as deleted
    #[arg(short, long)]
    pub skip_not_exists: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub struct PatchArgs {
    pub kind: String,
    pub name: String,
    /// The patch, as JSON or YAML
    #[arg(short, long, allow_hyphen_values = true)]
    pub patch: String,
    /// strategic, merge or json
    #[arg(short = 't', long = "type", value_name = "TYPE", default_value = "strategic")]
    pub patch_type: String,
    /// Namespace of the resource
    #[arg(short, long, value_name = "NS")]
    pub namespace: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct LabelArgs {
    pub kind: String,
    pub name: String,
    /// KEY=VALUE, or KEY with --remove
    pub label: String,
    /// Change a label that has another value
    #[arg(long)]
    pub overwrite: bool,
    /// Remove the label
    #[arg(long, conflicts_with = "overwrite")]
    pub remove: bool,
    /// Namespace of the resource
    #[arg(short, long, value_name = "NS")]
    pub namespace: Option<String>,
}
