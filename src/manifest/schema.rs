//! The JSON Schema of a manifest, for editors: made of what kinds declare to a recording reader.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::kind::{Kind, Kinds};
use super::reader::Reader;
use super::settings::{Settings, Slurm};
use super::shape::{Bounds, Field, Need, Shape};

/// The JSON Schema (draft 7, which TOML editors know best) of manifests with these kinds.
pub fn schema(kinds: &Kinds) -> Json {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    let each = kinds.iter().map(|kind| {
        json!({
            "if": { "required": ["kind"], "properties": { "kind": { "const": kind.name() } } },
            "then": { "$ref": format!("#/definitions/{}", kind.name()) },
        })
    });
    let mut definitions: Map<String, Json> =
        kinds.iter().map(|kind| (kind.name().to_owned(), stage(kind.as_ref()))).collect();
    definitions.insert("matrix".to_owned(), matrix());
    definitions.extend(Slurm::declared().iter().map(|field| (field.name.to_owned(), described(field))));
    definitions.insert(
        "stage".to_owned(),
        json!({
            "type": "object",
            "required": ["kind"],
            "properties": { "kind": { "enum": names, "description": "what the stage does" } },
            "allOf": each.collect::<Vec<_>>(),
        }),
    );
    let overlay = json!({
        "type": "object",
        "properties": { "kind": { "enum": names }, "matrix": { "$ref": "#/definitions/matrix" } },
    });
    definitions.insert("overlay".to_owned(), overlay);
    let settings = table(&Settings::declared()).remove("properties");
    let name = json!({ "pattern": "^[A-Za-z0-9_-]+$" });
    let mut schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "thalweg manifest",
        "type": "object",
        "required": ["study"],
        "additionalProperties": false,
        "properties": {
            "study": { "type": "string", "pattern": "^[a-z0-9-]+$", "description": "the study's name; it names the folder of its results" },
            "title": { "type": "string", "description": "what people call the study" },
            "description": { "type": "string", "description": "what the study is about" },
            "stage": {
                "type": "object",
                "description": "the stages, by name",
                "propertyNames": name,
                "additionalProperties": { "$ref": "#/definitions/stage" },
            },
            "profile": {
                "type": "object",
                "description": "what lies over the stages when a profile is asked for; `smoke`, `small` (the default) and `paper` always exist",
                "propertyNames": name,
                "additionalProperties": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {
                        "description": { "type": "string", "description": "what the profile is for" },
                        "stage": { "type": "object", "additionalProperties": { "$ref": "#/definitions/overlay" } },
                    },
                },
            },
        },
        "definitions": definitions,
    });
    if let (Some(Json::Object(settings)), Some(properties)) = (settings, schema["properties"].as_object_mut()) {
        properties.extend(settings);
    }
    schema
}

fn matrix() -> Json {
    json!({
        "type": "object",
        "description": "axes: each names a field, and lists its values or names each in a table",
        "minProperties": 1,
        "additionalProperties": {
            "anyOf": [{ "type": "array", "minItems": 1 }, { "type": "object", "minProperties": 1 }],
        },
    })
}

/// A stage of one kind. What is required may come from the matrix instead, so it is asked only of stages without one.
fn stage(kind: &dyn Kind) -> Json {
    let fields = Reader::declared(kind);
    let mut schema = table(&fields);
    let required = schema.remove("required");
    if let Some(Json::Object(properties)) = schema.get_mut("properties") {
        properties.insert("kind".to_owned(), json!({ "const": kind.name(), "description": kind.about() }));
        properties.insert("matrix".to_owned(), json!({ "$ref": "#/definitions/matrix" }));
        for field in Slurm::declared() {
            properties.insert(field.name.to_owned(), json!({ "$ref": format!("#/definitions/{}", field.name) }));
        }
    }
    schema.insert("description".to_owned(), kind.about().into());
    if let Some(required) = required {
        let either = json!([{ "required": ["matrix"] }, { "required": required }]);
        schema.insert("anyOf".to_owned(), either);
    }
    Json::Object(schema)
}

/// A table with these fields. A field that several choices of another have may be whatever one of them says.
fn table(fields: &[Field]) -> Map<String, Json> {
    let mut shapes: BTreeMap<&str, Vec<Json>> = BTreeMap::new();
    for field in fields {
        let (all, this) = (shapes.entry(field.name).or_default(), described(field));
        if !all.contains(&this) {
            all.push(this);
        }
    }
    let mut properties = Map::new();
    for field in fields {
        if let Some(mut all) = shapes.remove(field.name) {
            let one = if all.len() == 1 { all.remove(0) } else { json!({ "anyOf": all }) };
            properties.insert(field.name.to_owned(), one);
        }
    }
    let required = fields.iter().filter(|field| field.need == Need::Required && field.when.is_none());
    let required: Vec<&str> = required.map(|field| field.name).collect();
    let mut schema = Map::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("additionalProperties".to_owned(), false.into());
    schema.insert("properties".to_owned(), properties.into());
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    schema
}

fn described(field: &Field) -> Json {
    let mut schema = of(&field.shape);
    schema.insert("description".to_owned(), field.doc.into());
    if let Need::Default(default) = &field.need
        && !default.is_null()
    {
        schema.insert("default".to_owned(), default.clone());
    }
    Json::Object(schema)
}

fn of(shape: &Shape) -> Map<String, Json> {
    let schema = match shape {
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Whole(bounds) => bounded("integer", *bounds),
        Shape::Number(bounds) => bounded("number", *bounds),
        Shape::Text { filled: false } => json!({ "type": "string" }),
        Shape::Text { filled: true } | Shape::Path | Shape::Reference { gathers: false, .. } => {
            json!({ "type": "string", "minLength": 1 })
        }
        Shape::Choice(names) => json!({ "enum": names }),
        Shape::Texts => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Shape::List { of: each, filled } => {
            json!({ "type": "array", "items": of(each), "minItems": usize::from(*filled) })
        }
        Shape::Table(fields) => return table(fields),
        Shape::Reference { gathers: true, .. } => {
            json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }] })
        }
    };
    if let Json::Object(schema) = schema { schema } else { Map::new() }
}

fn bounded(kind: &str, bounds: Bounds) -> Json {
    let mut schema = Map::new();
    schema.insert("type".to_owned(), kind.into());
    let number = |value: f64| if value.fract() == 0.0 { json!(value as i64) } else { json!(value) };
    if let Some(low) = bounds.low {
        let key = if low.included { "minimum" } else { "exclusiveMinimum" };
        schema.insert(key.to_owned(), number(low.value));
    }
    if let Some(high) = bounds.high {
        let key = if high.included { "maximum" } else { "exclusiveMaximum" };
        schema.insert(key.to_owned(), number(high.value));
    }
    Json::Object(schema)
}
