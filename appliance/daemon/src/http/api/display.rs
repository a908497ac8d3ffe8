//! The display of the box: what it shows now, as words and as a picture, also where there is no panel.

use super::{
    Call,
    table::{Access, Answer, Body, Kind, Route, Schema, Verb, json, may, must},
};
use crate::{
    display::{Health, Seen, png, tick},
    http::{State, error::Error},
};
use rackberry_core::{
    display::{Panel, StatusView, picture},
    time::Timestamp,
};
use serde_json::{Value, json as object};
use warp::reply::Response;

static DISPLAY: Schema = Schema {
    name: "Display",
    about: "What the display of the box shows, whether there is one or not.",
    fields: &[
        must("size", Kind::Word(&["128x64", "128x32"]), "Of the panel that the settings name."),
        must(
            "health",
            Kind::Word(&["off", "opening", "shown", "missing", "stuck"]),
            "How the panel fares; off if the settings name none.",
        ),
        may("why", Kind::Text, "What a missing one was asked and said."),
        must("tick", Kind::Number, "Seconds on the box's own clock; pages turn by them."),
        must("view", Kind::Object, "What the picture is made of, for `rackberry oled preview --state`."),
    ],
    open: false,
};

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Get,
        path: "/v1/display",
        access: Access::Viewer,
        name: "showDisplay",
        command: "oled preview",
        summary: "What the display of the box shows now, in words.",
        query: &[],
        body: Body::None,
        answer: Answer::One(&DISPLAY),
        run: |call| json(show(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/v1/display/picture",
        access: Access::Viewer,
        name: "drawDisplay",
        command: "oled preview",
        summary: "The picture that the display of the box shows now.",
        query: &[
            may("size", Kind::Word(&["128x64", "128x32"]), "Of another panel than the settings name."),
            may("scale", Kind::Number, "Pixels of the file for each of the panel, 1 to 16; 4 if not given."),
            may("at", Kind::Number, "Anything; a browser asks again when it changes."),
        ],
        body: Body::None,
        answer: Answer::Bytes("image/png"),
        run: |call| Box::pin(draw(call)),
    },
];

fn view(state: &State, now: Timestamp) -> StatusView {
    let snapshot = state.inventory.snapshot();
    let network = state.network.borrow().clone();
    let code = state.auth.code();
    let update = state.updates.notice(&snapshot, state.config.oled.confirm_gpio.is_some(), now);
    state.display.view(Seen {
        snapshot: &snapshot,
        network: &network,
        code: code.as_deref(),
        config: &state.config,
        // Whoever reads this does not stand at the box.
        question: None,
        update: update.as_ref(),
        now,
    })
}

async fn show(call: Call) -> Result<Value, Error> {
    let state = &call.state;
    let now = state.inventory.now();
    let health = state.display.health();
    Ok(object!({
        "size": state.config.oled.panel,
        "health": health.word(),
        "why": match &health {
            Health::Missing(why) => Some(why),
            Health::Off | Health::Opening | Health::Shown | Health::Stuck => None,
        },
        "tick": tick(now),
        "view": view(state, now),
    }))
}

async fn draw(call: Call) -> Result<Response, Error> {
    let panel = match call.query("size").as_str() {
        "" => call.state.config.oled.panel,
        word => Panel::of_word(word)
            .ok_or_else(|| Error::Fields(vec![("size".to_owned(), "size has to be 128x64 or 128x32.".to_owned())]))?,
    };
    let scale = call.number("scale")?.map_or(4, |scale| usize::try_from(scale).unwrap_or(usize::MAX));
    let now = call.state.inventory.now();
    let drawn = picture(&view(&call.state, now), tick(now), panel);
    let mut response = Response::new(png(&drawn, scale).into());
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("image/png"));
    Ok(response)
}
