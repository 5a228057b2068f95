//! The protocol as an AsyncAPI 3 document, made from the schemas of both directions, the examples and the codes.

use nearcast::admit::{Close, Refusal};
use nearcast::codec::Encoding;
use nearcast::codec::message::VERSION;
use nearcast::limits::MESSAGE_BYTES_MAX;
use serde_json::{Map, Value, json};

/// One direction: how its messages' keys begin, the file of their schema, the schema, and examples.
pub struct Direction<'a> {
    pub key: &'a str,
    pub file: &'a str,
    pub schema: &'a Value,
    pub examples: Vec<Value>,
}

/// The document. `closes` are all reasons to close.
pub fn document(from_clients: &Direction, to_clients: &Direction, closes: &[Close]) -> Value {
    let mut messages = self::messages(from_clients);
    messages.append(&mut self::messages(to_clients));
    let referred = messages.keys().map(|key| (key.clone(), json!({"$ref": format!("#/components/messages/{key}")})));
    let referred: Map<String, Value> = referred.collect();
    let of = |direction: &Direction| -> Vec<Value> {
        let keys = messages.keys().filter(|key| key.starts_with(direction.key));
        keys.map(|key| json!({"$ref": format!("#/channels/v{VERSION}/messages/{key}")})).collect()
    };
    let subprotocols = Encoding::ALL.map(Encoding::subprotocol);
    let channel = format!("v{VERSION}");
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "nearcast",
            "version": VERSION.to_string(),
            "description": "Protocol v1 between clients and a gateway, which this document takes the part of: it receives what \
                clients say. The prose, with the meaning of every field and the binary states, is in protocol.md.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {"host": "127.0.0.1:8080", "protocol": "ws", "description": "A gateway started without settings."},
        },
        "channels": {
            &channel: {
                "address": format!("/v{VERSION}"),
                "title": "A session",
                "description": format!(
                    "A connection is a session. The subprotocol chooses the encoding: {}, or none, is JSON in text frames, \
                     {} is MessagePack in binary frames. A message is a map of one entry, its name and its fields, in at \
                     most {MESSAGE_BYTES_MAX} bytes from clients.",
                    subprotocols[0], subprotocols[1]
                ),
                "servers": [{"$ref": "#/servers/local"}],
                "messages": referred,
                "bindings": {"ws": {
                    "method": "GET",
                    "headers": {"type": "object", "properties": {
                        "Sec-WebSocket-Protocol": {"type": "string", "enum": subprotocols},
                    }},
                    "bindingVersion": "0.1.0",
                }},
                "x-encodings": [
                    {"subprotocol": subprotocols[0], "contentType": "application/json", "frames": "text"},
                    {"subprotocol": subprotocols[1], "contentType": "application/msgpack", "frames": "binary",
                        "differences": "Application state is bin, not base64. `state` is {\"s\": bin}; see x-msgpack there."},
                ],
                "x-close-codes": closes.iter().map(|close| json!({
                    "code": close.code(), "reason": close.label(), "text": close.text(), "again": close.again().is_some(),
                })).collect::<Vec<_>>(),
                "x-refusals": Refusal::ALL.map(|refusal| json!({"code": refusal.code(), "text": refusal.text()})),
            },
        },
        "operations": {
            "hear": {
                "action": "receive",
                "summary": "What clients say: `hello` first.",
                "channel": {"$ref": format!("#/channels/{channel}")},
                "messages": of(from_clients),
            },
            "say": {
                "action": "send",
                "summary": "What the gateway says: `welcome` first, then states and events; `bye` before it closes.",
                "channel": {"$ref": format!("#/channels/{channel}")},
                "messages": of(to_clients),
            },
        },
        "components": {"messages": messages},
    })
}

/// A direction's messages. The schema of each is that of one entry, whose fields are in the schema's file.
fn messages(direction: &Direction) -> Map<String, Value> {
    let variants = direction.schema["oneOf"].as_array().expect("an enum");
    variants
        .iter()
        .map(|variant| {
            let name = variant["required"][0].as_str().expect("a name");
            let mut payload = variant.clone();
            payload.as_object_mut().expect("a map").remove("description");
            let fields = &mut payload["properties"][name]["$ref"];
            *fields = json!(format!("./{}{}", direction.file, fields.as_str().expect("a reference")));
            let examples = direction.examples.iter().filter(|example| example.get(name).is_some());
            let mut message = json!({
                "name": name,
                "summary": variant["description"],
                "payload": payload,
                "examples": examples.map(|example| json!({"payload": example})).collect::<Vec<_>>(),
            });
            if name == "state" {
                message["x-msgpack"] = json!({
                    "type": "object",
                    "properties": {"s": {"description": "bin; see Binary states in protocol.md"}},
                    "required": ["s"],
                    "additionalProperties": false,
                });
            }
            (format!("{}.{name}", direction.key), message)
        })
        .collect()
}
