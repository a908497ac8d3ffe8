//! A kernel's arguments as a profile writes them, and as each loader has to be given them so that the kernel sees just that.
//!
//! The kernel splits at blanks outside of double quotes (`next_arg` in Linux' `lib/cmdline.c`). Loaders split by rules of their own:
//! iPXE at blanks, and it takes `#`, `||`, `&&` and `;` that stand alone, and `${`, for itself (its `exec.c`); PXELINUX hands its line
//! on; GRUB reads shell words, and hands quotes and backslashes on with a backslash before each (its `lib/cmdline.c`).

use serde::{Deserialize, Serialize};

/// Arguments in the order they were written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KernelArgs(Vec<String>);

/// An argument that no loader, or not the kernel, would take as it is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadArgument {
    #[error(
        "the kernel argument {0} has a blank inside: put it in double quotes, or write %20 or a comma where its reader takes that"
    )]
    Blank(String),
    #[error("the kernel argument {0} has a double quote without its end")]
    OpenQuote(String),
    #[error(
        "the kernel argument {0} holds a character that loaders do not hand on: only printable ASCII is sure to arrive"
    )]
    Character(String),
    #[error("the kernel argument {0} means something to iPXE itself: \"${{\", or a single #, ||, && or ;")]
    Loader(String),
    #[error("the kernel arguments take {0} bytes, and kernels cut them at 2,047")]
    TooLong(usize),
}

/// `COMMAND_LINE_SIZE` of x86 Linux, less its final NUL.
const LONGEST: usize = 2047;

impl KernelArgs {
    /// Splits a line as the kernel does; line ends count as blanks.
    ///
    /// # Errors
    /// [`BadArgument`], naming the argument.
    pub fn parse(line: &str) -> Result<Self, BadArgument> {
        let said = |text: &str| crate::text::clean(text, 120);
        let mut args = Vec::new();
        let (mut arg, mut quoted) = (String::new(), false);
        for c in line.chars() {
            match c {
                ' ' | '\t' | '\n' | '\r' if !quoted => {
                    if !arg.is_empty() {
                        args.push(std::mem::take(&mut arg));
                    }
                }
                ' '..='~' => {
                    quoted ^= c == '"';
                    arg.push(c);
                }
                _ => return Err(BadArgument::Character(said(&arg))),
            }
        }
        if quoted {
            return Err(BadArgument::OpenQuote(said(&arg)));
        }
        if !arg.is_empty() {
            args.push(arg);
        }
        for arg in &args {
            // An apostrophe protects no blank: the list it opened was split.
            if arg.matches('\'').count() % 2 == 1 || arg.matches('[').count() != arg.matches(']').count() {
                return Err(BadArgument::Blank(said(arg)));
            }
            if arg.contains("${") || arg.starts_with('#') || matches!(arg.as_str(), "||" | "&&" | ";") {
                return Err(BadArgument::Loader(said(arg)));
            }
        }
        let args = KernelArgs(args);
        match args.pxelinux().len() {
            fits if fits <= LONGEST => Ok(args),
            long => Err(BadArgument::TooLong(long)),
        }
    }

    /// As the end of an iPXE `kernel` line.
    #[must_use]
    pub fn ipxe(&self) -> String {
        self.0.join(" ")
    }

    /// As a PXELINUX `APPEND` line takes them.
    #[must_use]
    pub fn pxelinux(&self) -> String {
        self.0.join(" ")
    }

    /// As words of a GRUB `linux` line. Of an argument with a blank the quotes go: GRUB puts the whole of it into quotes.
    #[must_use]
    pub fn grub(&self) -> String {
        let word = |arg: &String| {
            let bare = if arg.contains(' ') { arg.replace('"', "") } else { arg.clone() };
            format!("'{}'", bare.replace('\'', "'\\''"))
        };
        self.0.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    /// Each argument, quotes and all.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// These arguments with others before them.
    #[must_use]
    pub fn after(mut self, first: impl IntoIterator<Item = String>) -> Self {
        self.0.splice(0..0, first);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RANCHER: &str = "rancher.state.formatzero=true rancher.state.autoformat=[/dev/sda] \
        rancher.cloud_init.datasources=['url:http://192.168.77.1/rancheros.yml']";

    #[test]
    fn order_and_spelling_stay_as_they_were_written() {
        let args = KernelArgs::parse(RANCHER).unwrap();
        assert_eq!(args.ipxe(), RANCHER);
        assert_eq!(args.pxelinux(), RANCHER);
        let seed = KernelArgs::parse("autoinstall ds=nocloud-net;s=http://192.168.77.1/seed/ID/").unwrap();
        assert_eq!(seed.pxelinux(), "autoinstall ds=nocloud-net;s=http://192.168.77.1/seed/ID/");
        assert_eq!(seed.grub(), "'autoinstall' 'ds=nocloud-net;s=http://192.168.77.1/seed/ID/'");
    }

    #[test]
    fn a_blank_inside_an_argument_is_refused_unless_the_kernel_keeps_it() {
        for split in ["x=['a b']", "x=[a, b]", "x='a b'"] {
            assert!(matches!(KernelArgs::parse(split), Err(BadArgument::Blank(_))), "{split}");
        }
        let kept = KernelArgs::parse("dyndbg=\"file a +p\" quiet").unwrap();
        assert_eq!(kept.iter().count(), 2);
        assert_eq!(kept.grub(), "'dyndbg=file a +p' 'quiet'");
        assert!(matches!(KernelArgs::parse("x=\"a"), Err(BadArgument::OpenQuote(_))));
    }

    #[test]
    fn what_a_loader_would_take_for_itself_is_refused() {
        for taken in ["a=${net0/mac}", "a || b", "a ; b", "#a", "a && b"] {
            assert!(matches!(KernelArgs::parse(taken), Err(BadArgument::Loader(_))), "{taken}");
        }
        assert!(matches!(KernelArgs::parse("a=ä"), Err(BadArgument::Character(_))));
        assert!(matches!(KernelArgs::parse(&"a=b ".repeat(600)), Err(BadArgument::TooLong(_))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn what_is_rendered_reads_back_the_same(words in prop::collection::vec("[a-z][a-z0-9._=/:;,@%+-]{0,20}", 0..12)) {
            let args = KernelArgs::parse(&words.join("  ")).unwrap();
            prop_assert_eq!(&KernelArgs::parse(&args.ipxe()).unwrap(), &args);
            prop_assert_eq!(args.iter().collect::<Vec<_>>(), words.iter().map(String::as_str).collect::<Vec<_>>());
            let shell = args.grub().split(' ').filter(|w| !w.is_empty()).map(|w| w.trim_matches('\'').to_owned()).collect::<Vec<_>>();
            prop_assert_eq!(shell, words);
        }
    }
}
