//! All findings with their codes. Codes are stable, because scripts use them to silence findings.
//! Each code has a page in `docs/checks/`.

/// The kind of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// iPXE itself refuses the script, or stops with an error of its own.
    Syntax,
    /// iPXE reads the script, but a gateway may be stranded.
    Judgement,
}

/// A kind of finding.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// `FG` and three digits.
    pub id: &'static str,
    pub kind: Kind,
    /// Why it matters, in one sentence.
    pub why: &'static str,
}

macro_rules! codes {
    ($($name:ident $id:literal $kind:ident $why:literal)*) => {
        $(#[doc = $why] pub const $name: &Code = &Code { id: $id, kind: Kind::$kind, why: $why };)*
        /// All codes, in order.
        pub const ALL: &[&Code] = &[$($name),*];
    };
}

codes! {
    NOT_A_SCRIPT "FG001" Syntax "iPXE takes a file for a script only if it begins with `#!ipxe` and white space"
    UNFINISHED "FG002" Syntax "iPXE waits for the rest of the line, does not run it and fails with `Invalid argument`"
    UNKNOWN_COMMAND "FG010" Judgement "iPXE says `command not found`, which counts as a failure"
    NOT_ON_IMAGE "FG011" Judgement "a command or an option that is not compiled in fails like an unknown one"
    BAD_OPTION "FG012" Judgement "iPXE prints the command's usage instead of running it, which counts as a failure"
    ARGUMENT_COUNT "FG013" Judgement "iPXE prints the command's usage instead of running it, which counts as a failure"
    NOT_A_NUMBER "FG014" Judgement "iPXE says `invalid integer value` instead of running the command, which counts as a failure"
    GLUED_OPERATOR "FG015" Judgement "iPXE knows `&&`, `||` and `;` only as words of their own, with white space on both sides"
    QUOTES "FG016" Judgement "iPXE knows no quotes: they stay part of the value"
    UNCLOSED "FG017" Judgement "iPXE expands `${` only up to a `}` in the same word, and leaves it as it is otherwise"
    NUL "FG018" Judgement "iPXE ignores the rest of the line after a NUL byte"
    CONTINUED_COMMENT "FG019" Judgement "a backslash at its end continues a comment too, so iPXE does not run the next line"
    NO_LABEL "FG020" Judgement "a goto to a label that does not exist fails"
    DUPLICATE_LABEL "FG021" Judgement "goto always takes the first label of that name"
    UNREACHABLE "FG022" Judgement "no path leads here, so this never runs"
    EXIT "FG023" Judgement "exit ends the script without booting anything: the medium starts over with the same script"
    FALLS_OFF "FG024" Judgement "after its last line the script is over without booting anything: the medium starts over with the same script"
    WAITS "FG025" Judgement "nobody is there to press a key"
    NOTHING_TO_BOOT "FG026" Judgement "without an image chosen by `kernel` before, boot does nothing"
    UNGUARDED "FG027" Judgement "a line that fails ends the script at once, so the retry is never reached"
    TEST_ENDS "FG028" Judgement "a line that ends in failure ends the script, and a test that is false has failed"
    ENDLESS "FG029" Judgement "something that fails for good is retried forever: no boot is counted, and the gateway neither falls back nor asks for a better generation"
    UNSET "FG030" Judgement "iPXE replaces a setting that is not set with nothing"
    BAD_TYPE "FG031" Judgement "iPXE replaces a setting of an unknown type with nothing, and cannot set one"
    NAME_AS_ADDRESS "FG032" Judgement "iPXE itself has a setting of that name, the router's address, and shows the gateway's name as an address"
    SPLIT_BEFORE "FG033" Judgement "iPXE splits a line into words before it expands settings, so a setting is always one word"
    NO_TEMPLATE "FG034" Judgement "without a template there are no secrets: `secrets_url` is not set, and iPXE fetches nothing"
    UNKNOWN_IN_TEMPLATE "FG035" Judgement "only known names are replaced: the booted system gets this text as it is"
    UNSET_VARIABLE "FG036" Judgement "iPXE replaces a variable that the gateway does not have with nothing"
    UNUSED_VARIABLE "FG037" Judgement "a value that nothing reads is often one whose name is wrong somewhere"
    MISSING_ASSET "FG040" Judgement "the boot host answers 404 for a file that is not in the folder"
    NOT_HTTPS "FG041" Judgement "without TLS, anybody on the network path can replace it with another system"
    SECRET_ARGUMENT "FG042" Judgement "every process can read /proc/cmdline, and it ends up in logs"
    LONG_ARGUMENTS "FG043" Judgement "Linux on x86 takes 2047 bytes and silently drops the rest"
    NO_PANIC "FG044" Judgement "without `panic=` a kernel that panics waits forever, and the gateway never asks again"
    NO_IMGFREE "FG045" Judgement "every round adds another copy to those in memory, and the kernel gets them all"
    BIG_INITRAMFS "FG046" Judgement "iPXE must hold it in memory twice, and a slow line makes every boot long"
    NOT_A_KERNEL "FG047" Judgement "iPXE for BIOS jumps into whatever it takes for a kernel, and the machine hangs until somebody switches it off"
    NOT_AN_INITRAMFS "FG048" Judgement "Linux unpacks newc archives, alone or compressed; without an init it panics"
    ARCHIVED "FG049" Judgement "a word after the address makes iPXE put the file into an archive under that name, instead of passing it to the kernel as it is"
    FREED "FG050" Judgement "imgfree frees the chosen kernel too, and boot then says `No image selected`"
    NO_TIMEOUT "FG051" Judgement "iPXE before 2.0 waits forever when the connection dies in the middle of a download"
    POWEROFF "FG052" Judgement "nobody is there to switch the machine on again"
    BAD_DESCRIPTION "FG060" Syntax "a gateway.toml is TOML, with the keys of docs/gateway-toml.md"
    WRONG_VALUE "FG061" Judgement "nothing is published that the gateway could not do"
    UNKNOWN_NAME "FG062" Judgement "nothing has the name that is written here"
    CANNOT_HOLD "FG063" Judgement "what starts the containers would get another value than the one that is written here"
    TWICE "FG064" Judgement "of two things with one name, only one can be meant"
    FLOATING_DRIVE "FG065" Judgement "with a drive more or less, the name belongs to another one, which would be taken for the cache"
    SILENT "FG066" Judgement "a gateway whose boots are not acknowledged goes back to its last good generation"
    B2C_AUTO_CACHE "FG070" Judgement "boot2container partitions a disk without its cache anew, whatever is on it"
    B2C_POWEROFF "FG071" Judgement "boot2container switches the machine off when its containers end, and when anything fails"
    B2C_REMOVE "FG072" Judgement "a copy that is empty or incomplete deletes what the bucket has"
    B2C_NEVER_RUNS "FG073" Judgement "boot2container runs one container after the other, and that of a gateway never ends"
    B2C_PULLS "FG074" Judgement "boot2container pulls the image at every boot unless told otherwise: without the registry the gateway does not come up"
    UNKNOWN_CODE "FG090" Judgement "this comment silences nothing"
}

pub fn find(id: &str) -> Option<&'static Code> {
    ALL.iter().copied().find(|code| code.id == id)
}
