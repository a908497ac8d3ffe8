//! The description of the API (OpenAPI 3.1.0), made from the table that routes its requests.

use super::table::{Access, Answer, Body, Field, Kind, ROOT, Route, Schema, Verb, all, captured};
use serde_json::{Map, Value, json};

/// The whole document.
#[must_use]
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    let mut schemas = Schemas::default();
    for route in all() {
        let described = operation(route, &mut schemas);
        let path = paths.entry(format!("{ROOT}{}", route.path)).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.verb.method().as_str().to_ascii_lowercase(), described);
        }
    }
    let error = json!({
        "type": "object",
        "description": "Why a call was refused.",
        "properties": {
            "error": { "type": "string", "description": "A sentence for people: what was tried, and what to do." },
            "fields": {
                "type": "object",
                "description": "Members or parameters at fault, each with its sentence.",
                "additionalProperties": { "type": "string" }
            }
        },
        "required": ["error", "fields"],
        "additionalProperties": false
    });
    schemas.0.insert("Error".to_owned(), error);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Rackberry",
            "summary": "Provisions a rack from the network.",
            "description": "Times called `at`, `since`, `created`, `used` or `now` are milliseconds on the box's own \
                clock, which only grows; those called `wall` are milliseconds since 1970, and 0 if the box did not know.",
            "version": env!("CARGO_PKG_VERSION")
        },
        "paths": paths,
        "security": [{ "token": [] }, { "session": [] }],
        "components": {
            "schemas": schemas.0,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "What `rackberry token add` printed."
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "rackberry",
                    "description": "The page's login; calls that change something then need the header X-CSRF-Token."
                }
            }
        }
    })
}

/// Described once each, by name.
#[derive(Default)]
struct Schemas(Map<String, Value>);

impl Schemas {
    /// A reference to a schema, which is described if it was not yet.
    fn refer(&mut self, schema: &'static Schema) -> Value {
        if !self.0.contains_key(schema.name) {
            // Entered first, so that one that contains itself ends.
            self.0.insert(schema.name.to_owned(), Value::Null);
            let mut described = self.object(schema.fields, true);
            if let Some(members) = described.as_object_mut() {
                members.insert("description".to_owned(), schema.about.into());
                if !schema.open {
                    members.insert("additionalProperties".to_owned(), false.into());
                }
            }
            self.0.insert(schema.name.to_owned(), described);
        }
        json!({ "$ref": format!("#/components/schemas/{}", schema.name) })
    }

    /// An object; in an answer, a member that may be missing may be null too.
    fn object(&mut self, fields: &'static [Field], answer: bool) -> Value {
        let mut properties = Map::new();
        for field in fields {
            let mut shape = self.shape(field.kind);
            if answer && !field.required {
                shape = json!({ "anyOf": [shape, { "type": "null" }] });
            }
            if let Some(members) = shape.as_object_mut() {
                members.insert("description".to_owned(), field.about.into());
            }
            properties.insert(field.name.to_owned(), shape);
        }
        let required: Vec<&str> = fields.iter().filter(|field| field.required).map(|field| field.name).collect();
        json!({ "type": "object", "properties": properties, "required": required })
    }

    fn shape(&mut self, kind: Kind) -> Value {
        match kind {
            Kind::Text => json!({ "type": "string" }),
            Kind::Secret => json!({ "type": "string", "format": "password" }),
            Kind::Word(words) => json!({ "type": "string", "enum": words }),
            Kind::Number => json!({ "type": "integer", "minimum": 0 }),
            Kind::Flag => json!({ "type": "boolean" }),
            Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
            Kind::Map => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
            Kind::Object => json!({ "type": "object" }),
            Kind::Objects => json!({ "type": "array", "items": {} }),
            Kind::One(schema) => self.refer(schema),
        }
    }
}

fn operation(route: &'static Route, schemas: &mut Schemas) -> Value {
    let mut parameters: Vec<Value> = Vec::new();
    for name in route.path.split('/').filter_map(captured) {
        parameters.push(json!({
            "name": name,
            "in": "path",
            "required": true,
            "description": what_names(name),
            "schema": { "type": "string" }
        }));
    }
    for field in route.query {
        parameters.push(json!({
            "name": field.name,
            "in": "query",
            "required": field.required,
            "description": field.about,
            "schema": schemas.shape(field.kind)
        }));
    }
    if route.verb != Verb::Get {
        parameters.push(json!({
            "name": "X-CSRF-Token",
            "in": "header",
            "required": false,
            "description": "Needed with the page's login, not with a token.",
            "schema": { "type": "string" }
        }));
    }
    let content = match route.answer {
        Answer::One(schema) => json!({ "application/json": { "schema": schemas.refer(schema) } }),
        Answer::List(schema) => {
            json!({ "application/json": { "schema": { "type": "array", "items": schemas.refer(schema) } } })
        }
        Answer::Bytes(media) => json!({ (media): {} }),
        Answer::Document => json!({ "application/json": { "schema": { "type": "object" } } }),
    };
    let mut responses = json!({ "200": { "description": "Done.", "content": content } });
    let refusals = [
        ("401", "Nobody is logged in, or the token is not valid here."),
        ("403", "Whoever asks may not do this."),
        ("404", "There is no such thing."),
        ("409", "It does not fit now."),
        ("422", "The request is not in order; `fields` names what."),
        ("429", "Too many refused tries from this address; wait a minute."),
        ("default", "Another reason; the sentence says which."),
    ];
    if let Some(responses) = responses.as_object_mut() {
        for (status, about) in refusals {
            let schema = json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } });
            responses.insert(status.to_owned(), json!({ "description": about, "content": schema }));
        }
    }
    let mut operation = json!({
        "operationId": route.name,
        "summary": route.summary,
        "tags": [noun(route.path)],
        "parameters": parameters,
        "responses": responses,
        "x-rackberry-role": match route.access {
            Access::Viewer => "viewer",
            Access::Admin => "admin",
        },
        "x-rackberry-command": format!("rackberry {}", route.command),
    });
    let body = match route.body {
        Body::None => None,
        Body::Json(fields) => Some(json!({
            "required": fields.iter().any(|field| field.required),
            "content": { "application/json": { "schema": request(fields, schemas) } }
        })),
        Body::Bytes(about) => Some(json!({
            "required": true,
            "description": about,
            "content": { "application/octet-stream": {} }
        })),
    };
    if let (Some(body), Some(operation)) = (body, operation.as_object_mut()) {
        operation.insert("requestBody".to_owned(), body);
    }
    operation
}

fn request(fields: &'static [Field], schemas: &mut Schemas) -> Value {
    let mut object = schemas.object(fields, false);
    if let Some(members) = object.as_object_mut() {
        members.insert("additionalProperties".to_owned(), false.into());
    }
    object
}

/// The noun that a path begins with, behind the version.
fn noun(path: &str) -> &str {
    path.strip_prefix("/v1/").unwrap_or("api").split('/').next().unwrap_or_default()
}

fn what_names(part: &str) -> &'static str {
    match part {
        "host" => "Id, name or MAC address of a host.",
        "image" => "Name or SHA-256 of an image.",
        "fetch" => "Number of a fetch.",
        "medium" => "Name of a medium that the profile needs.",
        "upload" => "Id of an upload.",
        "profile" => "Name of a profile.",
        "user" => "Name of a person.",
        "token" => "Name of a token.",
        "alarm" => "Id of an alarm.",
        _ => "Which one.",
    }
}
