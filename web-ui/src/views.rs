//! What a page shows, as plain structs of primitive values: the server fills them, [`crate::render`] draws them.
//! Every text in them may come from a stranger's packet; nothing here is markup.

mod entry;
mod facts;
mod host;
mod hosts;
mod install;
mod library;
mod live;
mod shell;
mod state;
mod updates;

pub use entry::{FirstRunPage, LoginPage};
pub use facts::{BmcView, Contents, DiskView, Hardware, NicView, PartView};
pub use host::{
    BootView, HostPage, HostView, InstallView, PowerView, Question, Served, Station, StationState, TaskState, TaskView,
    Why,
};
pub use hosts::{EnrolPage, HostRow, HostsPage, LineProblem, StateCounts};
pub use install::{Check, DiskChoice, InstallDialog, InstallPage, Outlook, ParamField, ParamKind, ProfileChoice};
pub use library::{
    ActivityPage, EventRow, FetchForm, FetchMedium, FetchPage, ImageRow, ImagesPage, MediumPlace, MediumRow,
    ProfileRow, ProfilesPage, Tone, Trust,
};
pub use live::{LivePage, LiveView};
pub use shell::{Alarm, Contrast, ErrorPage, Link, Section, Shell, Theme, Watch};
pub use state::{Progress, SILENT_AFTER_MS, StateKind, StateView};
pub use updates::{BundleView, CardView, OtherSlot, UpdatesPage, WorkView};
