//! Images that come in pieces: announced, sent, gone on with after a break, finished.

use super::{
    Call, images,
    table::{Access, Answer, Body, Kind, Route, Schema, Verb, json, may, must},
};
use crate::{
    http::{State, actions, error::Error},
    media::{Arriving, Upload, UploadError},
    origin::proof::Papers,
};
use futures_util::StreamExt as _;
use rackberry_core::{image::Image, text::CleanText};
use serde::Deserialize;
use serde_json::{Value, json as object};

static UPLOAD: Schema = Schema {
    name: "Upload",
    about: "A file that comes in pieces.",
    fields: &[
        must("id", Kind::Text, "Names it in the other calls."),
        must("name", Kind::Text, "What the image will be called."),
        must("size_bytes", Kind::Number, "What was announced."),
        must("offset", Kind::Number, "So many bytes are here: the next ones begin there."),
        must("origin", Kind::Text, "Where it comes from."),
        must("free_bytes", Kind::Number, "What this one may still take on the box."),
    ],
    open: false,
};

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Get,
        path: "/v1/uploads",
        access: Access::Admin,
        name: "listUploads",
        command: "image import",
        summary: "Every upload that waits for its rest; one that nobody goes on with for a day is swept.",
        query: &[],
        body: Body::None,
        answer: Answer::List(&UPLOAD),
        run: |call| json(list(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/uploads",
        access: Access::Admin,
        name: "beginUpload",
        command: "image import",
        summary: "Announces a file. Refused if it cannot fit; the same announced again goes on where it is.",
        query: &[],
        body: Body::Json(&[
            must("name", Kind::Text, "What people and profiles call the image."),
            must("size_bytes", Kind::Number, "Of the whole file."),
            may("origin", Kind::Text, "Where it comes from; `upload` if not given."),
            may("stamp", Kind::Text, "Tells this version of the file from another, for example when it was changed."),
            may("sha256", Kind::Text, "It is refused unless it has this digest."),
            may("as_it_is", Kind::Flag, "A packed archive is kept packed, and nothing is served out of it."),
        ]),
        answer: Answer::One(&UPLOAD),
        run: |call| json(begin(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/v1/uploads/{upload}",
        access: Access::Admin,
        name: "getUpload",
        command: "image import",
        summary: "How much of a file is here.",
        query: &[],
        body: Body::None,
        answer: Answer::One(&UPLOAD),
        run: |call| json(show(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/uploads/{upload}",
        access: Access::Admin,
        name: "sendUpload",
        command: "image import",
        summary: "Takes the next bytes of a file; what arrived stays if the rest breaks off.",
        query: &[must("offset", Kind::Number, "Where these bytes belong; refused unless it is the upload's own.")],
        body: Body::Bytes("The next bytes, as many as are wanted."),
        answer: Answer::One(&UPLOAD),
        run: |call| json(send(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/uploads/{upload}/finish",
        access: Access::Admin,
        name: "finishUpload",
        command: "image import",
        summary: "Makes the whole file an image, if what came with it vouches for it.",
        query: &[],
        body: Body::Json(&[
            may("checksums", Kind::Text, "A list of checksums, as its file has it."),
            may(
                "signature",
                Kind::Text,
                "An OpenPGP signature, armored: of that list, if there is one, else of the file.",
            ),
            may(
                "key",
                Kind::Text,
                "The keys that may have signed, armored; or the name of a file in the box's folder of keys.",
            ),
            may("file", Kind::Text, "What the list calls the file; the image's name if not given."),
        ]),
        answer: Answer::One(&images::IMAGE),
        run: |call| json(finish(call)),
    },
    Route {
        verb: Verb::Delete,
        path: "/v1/uploads/{upload}",
        access: Access::Admin,
        name: "dropUpload",
        command: "image import",
        summary: "Gives an upload up.",
        query: &[],
        body: Body::None,
        answer: Answer::One(&UPLOAD),
        run: |call| json(give_up(call)),
    },
];

fn shown(state: &State, upload: &Upload) -> Value {
    object!({
        "id": upload.id,
        "name": upload.name,
        "size_bytes": upload.size_bytes,
        "offset": upload.offset,
        "origin": upload.origin,
        "free_bytes": state.media.room(&upload.id),
    })
}

/// Off the runtime.
async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, UploadError> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(act).await {
        Ok(done) => done.map_err(Error::from),
        Err(error) => Err(Error::Mistake(error.to_string())),
    }
}

async fn list(call: Call) -> Result<Vec<Value>, Error> {
    let state = call.state;
    blocking(move || Ok(state.media.uploads().iter().map(|upload| shown(&state, upload)).collect())).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Announced {
    name: String,
    size_bytes: u64,
    #[serde(default)]
    origin: String,
    #[serde(default)]
    stamp: String,
    #[serde(default)]
    sha256: String,
    #[serde(default)]
    as_it_is: bool,
}

async fn begin(call: Call) -> Result<Value, Error> {
    let wanted: Announced = call.json()?;
    let state = call.state;
    let checked = images::check(&state, &wanted.name, &wanted.sha256)?;
    if wanted.size_bytes == 0 {
        return Err(Error::Fields(vec![("size_bytes".to_owned(), "The file is empty.".to_owned())]));
    }
    let origin = CleanText::new(if wanted.origin.is_empty() { "upload" } else { &wanted.origin });
    let upload = Upload {
        id: crate::auth::Token::random()?.hex(),
        name: checked.name.to_string(),
        size_bytes: wanted.size_bytes,
        offset: 0,
        origin: origin.to_string(),
        stamp: rackberry_core::text::clean(&wanted.stamp, 100),
        sha256: checked.digest,
        as_it_is: wanted.as_it_is,
    };
    blocking(move || state.media.begin_upload(upload).map(|upload| shown(&state, &upload))).await
}

async fn show(call: Call) -> Result<Value, Error> {
    let id = call.part("upload");
    let arriving = call.state.media.go_on(&id).await?;
    Ok(shown(&call.state, arriving.upload()))
}

async fn send(call: Call) -> Result<Value, Error> {
    let (id, offset) = (call.part("upload"), call.number("offset")?);
    let Call { state, upload, .. } = call;
    let Some(mut body) = upload else { return Err(Error::Mistake("an upload without its bytes".to_owned())) };
    if let Some(why) = state.sensors.refusal() {
        return Err(Error::Conflict(why.to_owned()));
    }
    let mut arriving = state.media.go_on(&id).await?;
    let offset = offset.ok_or_else(|| Error::Fields(vec![("offset".to_owned(), "An offset is needed.".to_owned())]))?;
    if let Err(error) = arriving.expects(offset) {
        images::drain(&mut body).await;
        return Err(error.into());
    }
    let mut broke_off = None;
    while let Some(piece) = body.next().await {
        match piece {
            Ok(bytes) => arriving = write(arriving, bytes).await?,
            Err(error) => {
                broke_off = Some(Error::Invalid(format!("The upload broke off: {error}.")));
                break;
            }
        }
    }
    let upload = blocking(move || arriving.settle()).await?;
    match broke_off {
        Some(error) => Err(error),
        None => Ok(shown(&state, &upload)),
    }
}

async fn write(mut arriving: Arriving, bytes: bytes::Bytes) -> Result<Arriving, Error> {
    blocking(move || arriving.write(&bytes).map(|()| arriving)).await
}

/// What came beside the file.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Beside {
    checksums: Option<String>,
    signature: Option<String>,
    key: Option<String>,
    file: Option<String>,
}

async fn finish(call: Call) -> Result<Image, Error> {
    let id = call.part("upload");
    let Beside { checksums, signature, key, file } = call.json()?;
    let Call { state, actor, .. } = call;
    let arriving = state.media.go_on(&id).await?;
    let upload = arriving.upload().clone();
    let wanted = upload.sha256.map(|digest| digest.to_string()).unwrap_or_default();
    let checked = images::check(&state, &upload.name, &wanted)?;
    let papers = Papers {
        checksums: checksums.map(String::into_bytes),
        signature: signature.map(String::into_bytes),
        key: actions::key_of(&state, key).await?,
        name: file.unwrap_or_else(|| upload.name.clone()),
    };
    let import = blocking(move || arriving.whole()).await?;
    state.media.upload_over(&id).await;
    images::keep(&state, actor, import, checked, CleanText::new(&upload.origin), papers).await
}

async fn give_up(call: Call) -> Result<Value, Error> {
    let id = call.part("upload");
    let upload = call.state.media.give_up(&id).await?;
    Ok(shown(&call.state, &upload))
}
