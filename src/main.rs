//! The command `reprove`: arguments in, text and an exit status out.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main().into()
}
