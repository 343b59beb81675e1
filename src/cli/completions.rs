//! `keyfob completions`: what a shell needs to complete the command line.

use clap::Args;
use clap_complete::Shell;

use super::Failure;
use super::print::print_bytes;

/// For which shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keyfob completions bash > ~/.local/share/bash-completion/completions/keyfob
  keyfob completions zsh  > ~/.zfunc/_keyfob              (a directory of $fpath)
  keyfob completions fish > ~/.config/fish/completions/keyfob.fish
The Debian package has installed all three.")]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    pub fn run(&self) -> Result<(), Failure> {
        let mut script = vec![];
        clap_complete::generate(self.shell, &mut super::command(), "keyfob", &mut script);
        print_bytes(&script)
    }
}
