//! Logging in, the first run, and what went wrong.

use super::Samples;
use rackberry_web::views::*;

impl<F: Fn(&str) -> String> Samples<F> {
    pub fn error(&self, shell: Option<Shell>) -> ErrorPage {
        ErrorPage {
            shell,
            happened: self.t("This host is being installed already."),
            did: self.t("Nothing was changed."),
            todo: self.t("Watch it, or stop that install first."),
            link: Some(Link { label: self.t("Watch r1-n03"), href: self.t("/hosts/h-03") }),
        }
    }

    pub fn login(&self, problem: &str) -> LoginPage {
        LoginPage {
            box_name: self.t("rackberry.local"),
            summary: self.t("9 hosts, 2 installing"),
            theme: self.theme,
            contrast: self.contrast,
            csrf: self.t("c5f-0123456789"),
            user: self.t("ops"),
            problem: if problem.is_empty() { String::new() } else { self.t(problem) },
            first_run: problem.is_empty(),
        }
    }

    pub fn first_run(&self, with_problems: bool) -> FirstRunPage {
        let problem = |text: &str| if with_problems { self.t(text) } else { String::new() };
        FirstRunPage {
            box_name: self.t("rackberry.local"),
            theme: self.theme,
            contrast: self.contrast,
            csrf: self.t("c5f-0123456789"),
            code: problem("K7M4PXQ2"),
            user: problem("ops ops"),
            code_problem: problem("That is not the code on the screen. 4 tries left."),
            user_problem: problem("No blanks in names. Try ops-ops."),
            password_problem: problem("The two passwords differ. Type both again."),
        }
    }
}
