//! A manual page: the sections that clap makes of a command, and those that it does not know.

use std::io;

use clap_mangen::roff::Roff;
use clap_mangen::roff::bold;
use clap_mangen::roff::roman;

use super::examples::EXAMPLES;
use super::markdown;
use super::markdown::literally;
use super::markdown::tagged;
use crate::store::layout;

/// Variables of the environment that no argument stands for.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("FARMGATE_AUTHOR", "Recorded as the author of a change, in place of the user's name"),
    ("CREDENTIALS_DIRECTORY", "Directory with credentials, set by systemd; see farmgate.toml(5)"),
    ("HTTPS_PROXY, NO_PROXY", "Proxy for requests to a store and to a provider of buckets"),
    ("SSL_CERT_FILE", "Public CAs to trust in such requests, in place of the system's"),
];

/// The page of a command that has been built.
pub(super) fn of_command(command: &clap::Command) -> io::Result<Vec<u8>> {
    let man = clap_mangen::Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let is_whole = command.get_version().is_some();
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut roff = Roff::new();
    environment(command, is_whole, &mut roff);
    files(is_whole, &mut roff);
    exit_status(&mut roff);
    examples(command, &mut roff);
    see_also(command, is_whole, &mut roff);
    roff.to_writer(&mut page)?;
    Ok(page)
}

/// farmgate.toml(5).
pub(super) fn of_configuration() -> Vec<u8> {
    let mut roff = Roff::new();
    let version = concat!("farmgate ", env!("CARGO_PKG_VERSION"));
    roff.control("TH", ["farmgate.toml", "5", "", version, ""]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("farmgate.toml - configuration of a boot host")]);
    roff.control("SH", ["DESCRIPTION"]);
    markdown::write(include_str!("../../../docs/configuration.md"), &mut roff);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("farmgate"), roman("(1), "), bold("farmgate-check"), roman("(1)")]);
    roff.render().into_bytes()
}

fn environment(command: &clap::Command, is_whole: bool, roff: &mut Roff) {
    roff.control("SH", ["ENVIRONMENT"]);
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        if let (Some(name), Some(help)) = (arg.get_env(), arg.get_help()) {
            tagged(&name.to_string_lossy(), &help.to_string(), roff);
        }
    }
    for (name, help) in ENVIRONMENT.iter().filter(|_| is_whole) {
        tagged(name, help, roff);
    }
}

fn files(is_whole: bool, roff: &mut Roff) {
    roff.control("SH", ["FILES"]);
    let of_state = |path: &str, help: &str, roff: &mut Roff| {
        tagged(&format!("/var/lib/farmgate/{path}"), help, roff);
    };
    of_state(layout::CONFIG, "Configuration; see farmgate.toml(5)", roff);
    if !is_whole {
        return;
    }
    let pki = |file: &str| format!("{}/{file}", layout::PKI);
    of_state(&pki(layout::CA), "Certificate that media trust", roff);
    of_state(
        &pki(layout::CA_KEY),
        "Its key. Needed for new certificates; keep a copy offline",
        roff,
    );
    of_state(&pki(layout::SERVER), "The boot host's chain of certificates", roff);
    of_state(&pki(layout::CRL), "Revoked certificates, for nginx", roff);
    of_state(layout::GATEWAYS, "Gateways with their certificates and keys", roff);
    of_state(layout::STORE, "What gateways boot, and what came of it", roff);
    of_state(layout::PROXY_MARK, "Secret by which the server recognises its nginx", roff);
    tagged("/run/farmgate.sock", "Socket for nginx", roff);
}

/// The lines under "Exit status" of the help, which are the same for all commands.
fn exit_status(roff: &mut Roff) {
    use clap::CommandFactory;
    let command = crate::cli::Cli::command();
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    roff.control("SH", ["EXIT STATUS"]);
    for line in help.lines() {
        if let Some((status, meaning)) = line.trim().split_once("  ") {
            tagged(status, meaning.trim(), roff);
        }
    }
}

fn examples(command: &clap::Command, roff: &mut Roff) {
    let name = command.get_bin_name().unwrap_or_default();
    let own = |words: &str| {
        let whole = format!("farmgate {words}");
        whole == name || whole.starts_with(&format!("{name} "))
    };
    let own: Vec<_> = EXAMPLES.iter().filter(|(words, _)| own(words)).collect();
    if own.is_empty() {
        return;
    }
    roff.control("SH", ["EXAMPLES"]);
    for (words, what) in own {
        roff.control("PP", []);
        roff.text([roman(format!("{what}:"))]);
        literally(&format!("farmgate {words}"), roff);
    }
}

fn see_also(command: &clap::Command, is_whole: bool, roff: &mut Roff) {
    roff.control("SH", ["SEE ALSO"]);
    let mut also = Vec::new();
    if !is_whole {
        let above = command.get_display_name().and_then(|name| name.rsplit_once('-'));
        also.extend([bold(above.map_or("farmgate", |(above, _)| above)), roman("(1), ")]);
    }
    also.extend([bold("farmgate.toml"), roman("(5)")]);
    roff.text(also);
}
