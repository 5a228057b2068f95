//! `schemas/` against the code: the JSON Schemas and the AsyncAPI document are what the types give, messages pass them,
//! and the prose names every message and code and shows the bytes that the codec writes.
//!
//! After a change of the types: `UPDATE_SCHEMAS=1 cargo test --release --locked --workspace --test schemas`.

#[path = "schemas/asyncapi.rs"]
mod asyncapi;
mod examples;

use std::fmt::Write as _;
use std::sync::Arc;

use asyncapi::Direction;
use examples::{all_in, all_out, example_states};
use nearcast::admit::{Close, Refusal};
use nearcast::client::Mirror;
use nearcast::codec::command::{Aim, Command, Deed, Object};
use nearcast::codec::message::*;
use nearcast::codec::record::{self, Note, Opening, Piece, Record, Sample, Sign, Signal, Stamp};
use nearcast::codec::state::{self, Context, ROW_BYTES, row_hash};
use nearcast::codec::{Encoding, Heard};
use nearcast::limits;
use nearcast::space::Pos;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

// --- JSON Schema ------------------------------------------------------------------------------------------------------

fn schemas() -> [(&'static str, Value); 2] {
    let settings = SchemaSettings::draft2020_12;
    let from_clients = settings().for_deserialize().into_generator().into_root_schema_for::<In>();
    let to_clients = settings().for_serialize().into_generator().into_root_schema_for::<Out>();
    [("in.schema.json", from_clients.to_value()), ("out.schema.json", to_clients.to_value())]
}

fn folder(file: &str) -> String {
    format!("{}/schemas/{file}", env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    std::fs::read_to_string(folder(file)).unwrap_or_default()
}

/// The AsyncAPI document.
fn asyncapi() -> Value {
    let [(in_file, in_schema), (out_file, out_schema)] = &schemas();
    let values = |all: Vec<Result<Value, _>>| all.into_iter().map(|value| value.expect("finite")).collect();
    let said = values(all_in().iter().map(serde_json::to_value).collect());
    let heard = values(all_out().iter().map(serde_json::to_value).collect());
    let from_clients = Direction { key: "in", file: in_file, schema: in_schema, examples: said };
    let to_clients = Direction { key: "out", file: out_file, schema: out_schema, examples: heard };
    asyncapi::document(&from_clients, &to_clients, &closes().collect::<Vec<_>>())
}

#[test]
fn the_files_are_what_the_types_give() {
    for (file, schema) in schemas().into_iter().chain([("asyncapi.json", asyncapi())]) {
        let text = serde_json::to_string_pretty(&schema).expect("a value") + "\n";
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            std::fs::write(folder(file), text).expect("schemas/ is writable");
        } else {
            let same = read(file) == text;
            assert!(
                same,
                "schemas/{file} is not what the types give: UPDATE_SCHEMAS=1 cargo test --release --locked --workspace --test schemas"
            );
        }
    }
}

/// Checks messages, as JSON, against the schema of one direction.
fn check(schema: &Value, good: &[Value], bad: &[Value]) {
    let validator = jsonschema::validator_for(schema).expect("a valid schema");
    for message in good {
        assert!(validator.is_valid(message), "{message}: {:?}", validator.validate(message));
    }
    for message in bad {
        assert!(!validator.is_valid(message), "passes, but should not: {message}");
    }
}

fn names(messages: &[Value]) -> Vec<String> {
    let mut names: Vec<String> = messages.iter().flat_map(|m| m.as_object().expect("a map").keys().cloned()).collect();
    names.dedup();
    names
}

#[test]
fn what_clients_say_passes_and_what_is_wrong_does_not() {
    let good: Vec<Value> = all_in().iter().map(|m| serde_json::to_value(m).expect("finite")).collect();
    assert_eq!(names(&good), In::NAMES, "an example of each");
    let mut all = In::NAMES;
    all.sort_unstable();
    assert_eq!(schema_names(0), all, "In::NAMES names all of In");
    let bad = [
        json!({"jump": {}}),
        json!({}),
        json!("bye"),
        json!({"bye": {}, "ping": {"time": 1}}),
        json!({"hello": {}}),
        json!({"move": {"time": 1}}),
        json!({"move": {"time": "1", "pos": [0, 0, 0]}}),
        json!({"move": {"time": 1, "pos": [0, 0]}}),
        json!({"act": {"n": -1, "scope": "nearby", "name": "wave", "time": 1, "pos": [0, 0, 0]}}),
        json!({"act": {"n": 1, "scope": "user", "to": "Bob", "name": "wave", "time": 1, "pos": [0, 0, 0]}}),
        json!({"act": {"n": 1, "scope": "everywhere", "name": "wave", "time": 1, "pos": [0, 0, 0]}}),
        json!({"seen": {"held_ms": 1}}),
        json!({"report": {"number": 128}}),
        json!({"hello": {"world": "plaza", "resume": "token"}}),
        json!({"hello": {"world": "plaza", "resume": {"token": "x", "cursors": [["region/0/0"]]}}}),
    ];
    check(&schemas()[0].1, &good, &bad);
    check(&schemas()[0].1, &[json!({"bye": {"a later": "field"}})], &[]);
}

#[test]
fn what_the_gateway_says_passes_and_what_is_wrong_does_not() {
    let good: Vec<Value> = all_out().iter().map(|m| serde_json::to_value(m).expect("finite")).collect();
    let row = |row: Value| json!({"state": {"number": 1, "tick": 1, "update": [row]}});
    let bad = [
        json!({"hello": {"world": "plaza"}}),
        json!({"state": {"tick": 1}}),
        row(json!([0, 0, 1.0, 0.0, 2.0, 90.0, 20])),
        row(json!([0, 256, 1.0, 0.0, 2.0, 90.0, 20, 0])),
        json!({"state": {"number": 1, "tick": 1, "leave": [[1]]}}),
        json!({"bye": {"code": 4000}}),
        json!({"ack": {"n": 1}}),
        json!({"cursor": {"stream": 3, "offset": 1}}),
    ];
    check(&schemas()[1].1, &good, &bad);
    check(&schemas()[1].1, &[row(json!([0, 0, 1.0, 0.0, 2.0, 90.0, 20, 0]))], &[]);
    let mut seen = names(&good);
    seen.sort();
    seen.dedup();
    assert_eq!(seen, schema_names(1), "an example of each");
}

#[test]
fn asyncapi_has_every_message_once() {
    let document = asyncapi();
    let messages = document["components"]["messages"].as_object().expect("a map");
    let mut names = Vec::new();
    let mut said = In::NAMES.map(str::to_owned);
    said.sort();
    for (direction, operation, mut wanted) in [("in", "hear", said.to_vec()), ("out", "say", schema_names(1))] {
        wanted.iter_mut().for_each(|name| *name = format!("{direction}.{name}"));
        let listed = document["operations"][operation]["messages"].as_array().expect("a list");
        let listed: Vec<&str> = listed.iter().map(|m| m["$ref"].as_str().expect("a reference")).collect();
        let expected: Vec<String> = wanted.iter().map(|key| format!("#/channels/v1/messages/{key}")).collect();
        assert_eq!(listed, expected);
        names.append(&mut wanted);
    }
    assert_eq!(messages.keys().collect::<Vec<_>>(), names.iter().collect::<Vec<_>>(), "and no other");
    for (key, message) in messages {
        assert!(!message["examples"].as_array().expect("a list").is_empty(), "{key} has no example");
        assert!(key.ends_with(message["name"].as_str().expect("a name")), "{key}");
    }
}

/// Names of the messages in a schema, sorted: 0, from clients, or 1, to clients.
fn schema_names(which: usize) -> Vec<String> {
    let schema = &schemas()[which].1;
    let variants = schema["oneOf"].as_array().expect("an enum");
    let mut names: Vec<String> =
        variants.iter().map(|v| v["required"][0].as_str().expect("a name").to_owned()).collect();
    names.sort();
    names
}

// --- prose ------------------------------------------------------------------------------------------------------------

/// Every reason to close. A new one does not compile until it is in the row.
fn closes() -> impl Iterator<Item = Close> {
    std::iter::successors(Some(Close::Bye), |close| match close {
        Close::Bye => Some(Close::TooBig),
        Close::TooBig => Some(Close::Protocol),
        Close::Protocol => Some(Close::NotUtf8),
        Close::NotUtf8 => Some(Close::Drain(0)),
        Close::Drain(_) => Some(Close::Silent),
        Close::Silent => Some(Close::Unfinished),
        Close::Unfinished => Some(Close::Rate),
        Close::Rate => Some(Close::Internal),
        Close::Internal => Some(Close::NoLog),
        Close::NoLog => Some(Close::Superseded),
        Close::Superseded => Some(Close::NoHello),
        Close::NoHello => Some(Close::BadMessages),
        Close::BadMessages => Some(Close::Moves),
        Close::Moves => Some(Close::NoWorld),
        Close::NoWorld => None,
    })
}

/// The row of a table that begins with a cell.
fn table_row<'a>(prose: &'a str, cell: &str) -> &'a str {
    let start = format!("| {cell} |");
    let row = prose.lines().find(|line| line.starts_with(&start));
    row.unwrap_or_else(|| panic!("schemas/protocol.md has no row that begins with {start}"))
}

#[test]
fn the_prose_names_every_message_and_code() {
    let prose = read("protocol.md");
    let reserved = table_row(&prose, "reserved from clients").to_owned() + table_row(&prose, "reserved to clients");
    let names = In::NAMES.iter().map(|name| (*name).to_owned()).chain(schema_names(1));
    for name in names {
        let described = prose.lines().any(|line| line.starts_with('#') && line.contains(&format!("`{name}`")));
        assert!(described || reserved.contains(&format!("`{name}`")), "{name} has no section and is not reserved");
    }
    for refusal in Refusal::ALL {
        table_row(&prose, &format!("`{}`", refusal.code()));
    }
    for close in closes() {
        let row = table_row(&prose, &close.code().to_string());
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let again = match close.again() {
            Some(_) if matches!(close, Close::Drain(_)) => "yes, after `after_ms`".to_owned(),
            Some(0) => "yes".to_owned(),
            Some(ms) => format!("yes, after {} s", ms / 1_000),
            None => "no".to_owned(),
        };
        assert_eq!(cells[3], again, "{row}");
    }
}

#[test]
fn the_prose_states_the_limits_in_force() {
    let prose = read("protocol.md");
    let (_, prose) = prose.split_once("\n## Limits\n").expect("a section on limits");
    let rate = |per_s: u32, burst: u32| format!("{per_s} per s, burst {burst}");
    let ms = |us: u64| format!("{} ms", us / limits::MILLI_US);
    let seconds = |us: u64| format!("{} s", us / limits::SECOND_US);
    for (cell, value) in [
        ("message", format!("{} bytes", limits::MESSAGE_BYTES_MAX)),
        ("fragments of a message", format!("{}", limits::FRAGMENTS_MAX)),
        ("`token`", format!("{} bytes", limits::TOKEN_BYTES_MAX)),
        ("profile", format!("{} bytes", limits::PROFILE_BYTES_MAX)),
        ("application state", format!("{} bytes", limits::APP_STATE_BYTES_MAX)),
        ("`act.name`", format!("1 to {} bytes", limits::ACT_NAME_BYTES_MAX)),
        ("`act.data`", format!("{} bytes", limits::ACT_DATA_BYTES_MAX)),
        ("messages", rate(limits::MESSAGES_PER_S, limits::MESSAGES_BURST)),
        ("bytes", rate(limits::INBOUND_BYTES_PER_S, limits::INBOUND_BYTES_BURST)),
        ("`move`", rate(limits::MOVES_PER_S, limits::MOVES_BURST)),
        ("characters of a text", format!("{}", limits::TEXT_CHARS_MAX)),
        ("combining marks in a row", format!("{}", limits::MARKS_MAX)),
        ("`act` and `set` together", rate(limits::ACTS_PER_S, limits::ACTS_BURST)),
        ("`set.kind`, names of fields", format!("1 to {} bytes", limits::KIND_BYTES_MAX)),
        ("`set.kind`, names of fields", format!("1 to {} bytes", limits::FIELD_NAME_BYTES_MAX)),
        ("texts of fields", format!("{} bytes", limits::FIELD_BYTES_MAX)),
        ("fields of an object", format!("{}", limits::FIELDS_MAX)),
        ("reach", format!("{} m", limits::REACH_M)),
        ("objects made, and held, by a session in a block", format!("{}", limits::SESSION_OBJECTS_MAX)),
        ("`profile` and `view` together", rate(limits::CHANGES_PER_S, limits::CHANGES_BURST)),
        ("regions entered", rate(limits::CROSSINGS_PER_S, limits::CROSSINGS_BURST)),
        ("pings and pongs", rate(limits::CONTROLS_PER_S, limits::CONTROLS_BURST)),
        ("moves that are too fast", format!("{} seconds of {}", limits::REFUSED_MOVES_MAX, limits::REFUSED_MOVES_OF_S)),
        ("a message, from its first byte to its last", seconds(limits::MESSAGE_WITHIN_US)),
        ("`resume.cursors`", format!("{}", limits::RESUME_CURSORS_MAX)),
        ("open actions", format!("{}", limits::OPEN_ACTS_MAX)),
        ("pings and pongs before `hello`", format!("{}", limits::CONTROLS_BEFORE_HELLO_MAX)),
        ("`hello` within", seconds(limits::HELLO_WITHIN_US)),
        ("silence", seconds(limits::SILENT_US)),
        ("age of a sample", ms(limits::SAMPLE_AGE_MAX_US)),
        ("radius", format!("{} to {} m", limits::RADIUS_MIN_M, limits::RADIUS_MAX_M)),
        ("budget", format!("{} to {} bytes per s", limits::BUDGET_MIN, limits::BUDGET_MAX)),
        ("avatars held", format!("{}", limits::VIEW_ENTITIES_MAX)),
        ("objects held", format!("{}", limits::VIEW_OBJECTS_MAX)),
        ("objects of a region", format!("{}", limits::REGION_OBJECTS_MAX)),
        ("avatar after a lost socket", seconds(limits::EXPIRY_US)),
        ("answer to an action", seconds(limits::ANSWER_US)),
        ("answer to `hello`", seconds(limits::OPEN_WITHIN_US)),
        ("session after a lost socket", seconds(limits::RESUME_US)),
        ("events kept at hand", format!("{} of a partition", limits::EVENT_RING)),
        (
            "events told from the log",
            format!(
                "{} that reach the client, {} KiB, of {} records of a partition; of so many a session may have read \
                 at once, and {} more a second",
                limits::RECALL_EVENTS_MAX,
                limits::RECALL_BYTES_MAX / 1024,
                limits::RECALL_RECORDS_MAX,
                limits::RECALL_LEAD * u64::from(limits::RECALL_PER_S)
            ),
        ),
    ] {
        let row = table_row(prose, cell);
        assert!(row.contains(&format!("| {value} |")), "{value}: {row}");
    }
}

// --- worked examples --------------------------------------------------------------------------------------------------

/// The body of the fenced block whose first line is "```" and `label`.
fn block<'a>(prose: &'a str, label: &str) -> &'a str {
    let start = format!("```{label}\n");
    let from = prose.find(&start).unwrap_or_else(|| panic!("no block {label:?}")) + start.len();
    &prose[from..from + prose[from..].find("```").expect("a closed block")]
}

/// Checks a block of hexadecimal bytes with a remark after `;` on each line.
fn check_hex(file: &str, label: &str, expected: &[u8]) {
    let prose = read(file);
    let shown: String = block(&prose, label).lines().flat_map(|line| line.split(';').next()).collect();
    let shown: String = shown.split_whitespace().collect();
    let written = expected.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    assert_eq!(shown, written, "{label}");
}

#[test]
fn the_shown_bytes_of_states_are_those_written() {
    let (mut context, mut known) = (Context::default(), state::Known::default());
    for (number, delta) in (1..).zip(example_states()) {
        let payload = Encoding::MessagePack.encode_state(&mut context, &delta);
        check_hex("protocol.md", &format!("hex state {number}"), payload.bytes());
        let Ok(Heard::State(read)) = Encoding::MessagePack.decode_out(&mut known, payload.bytes()) else {
            panic!("state {number} is not read again")
        };
        assert_eq!(read.updates, delta.updates, "state {number}");
    }
}

#[test]
fn the_shown_json_of_states_is_that_written() {
    let prose = read("protocol.md");
    let mut context = Context::default();
    for (number, delta) in (1..).zip(example_states()) {
        let label = format!("json state {number}");
        let shown: Value = serde_json::from_str(block(&prose, &label)).expect("JSON");
        let written = serde_json::to_value(Out::State(state::to_json(&mut context, &delta))).expect("finite");
        assert_eq!(shown, written, "{label}: {written}");
    }
}

#[test]
fn the_shown_digests_are_those_of_the_table() {
    let prose = read("protocol.md");
    let contains = |text: String| assert!(prose.contains(&text), "{text}");
    let mut mirror = Mirror::default();
    for (i, delta) in example_states().iter().enumerate() {
        mirror.apply(delta).expect("no contradiction");
        contains(format!("after state {}: `{:08x}`", i + 1, mirror.digest()));
    }
    for enter in &example_states()[0].enters {
        let hash = row_hash(enter.row.slot, enter.entity, enter.row.pos, enter.row.yaw, &enter.state);
        contains(format!("{}: `{hash:08x}`", enter.profile));
    }
    contains(format!("{ROW_BYTES} bytes"));
}

#[test]
fn the_shown_bytes_of_records_are_those_written() {
    let stamp = Stamp { gateway: 5, published_us: 1_790_000_000_000_000 };
    let sample = |sequence, note, profile: Option<&str>| Sample {
        entity: 10_485_762,
        incarnation: 0,
        sequence,
        time_us: stamp.published_us - 12_300,
        pos: Pos { x: 3_150, y: 0, z: -225 },
        yaw: 64,
        state: AppState::new(&[1, 2]).expect("short"),
        profile: profile.map(Arc::from),
        note,
    };
    let motion = Record::Motion(vec![sample(300, Note::None, None), sample(301, Note::Handover(4), Some("Ann"))]);
    let pos = Pos { x: 3_150, y: 0, z: -225 };
    let command = |deed| {
        let (session, n, entity) = (10_485_761, 1, 10_485_762);
        Record::Command(Command { session, n, entity, trusted: false, pos, from: pos, deed })
    };
    let act = command(Deed::Act { scope: Scope::Nearby, user: 10_485_761, name: "wave".into(), data: "".into() });
    let fields = vec![("on".into(), Some("yes".into()))];
    let aim = Aim { id: 44_032, expect: Some(1) };
    let object = Object {
        id: 44_032,
        version: 2,
        maker: 10_485_761,
        kind: "lamp".into(),
        pos,
        yaw: 64,
        holder: None,
        fields: [("on".into(), "yes".into())].into(),
    };
    let (session, names) = (10_485_761, Some(12));
    let (opener, world) = (10_485_777, "plaza".into());
    let opening = Record::Opening(Opening { user: session, session, entity: 10_485_762, opener, names, world });
    let sign = Sign { session, incarnation: 300, confirmed: true, pos: Some(pos), age_ms: 9_000 };
    let signs = Record::Signs(Signal::Lost, vec![sign]);
    for (label, record) in [
        ("hex motion", motion),
        ("hex beat", Record::Beat),
        ("hex act", act),
        ("hex tell", command(Deed::Tell { to: 10_485_769, user: 10_485_761, name: "hello".into(), data: "hi".into() })),
        ("hex create", command(Deed::Create { kind: "lamp".into(), yaw: 64, fields: fields.clone() })),
        ("hex change", command(Deed::Change { of: aim, to: None, fields })),
        ("hex grab", command(Deed::Grab(aim))),
        ("hex release", command(Deed::Release(aim, (pos, 64)))),
        ("hex arrive", Record::Arrive { object, from: 3 }),
        ("hex landed", Record::Landed { object: 44_032, version: 2 }),
        ("hex piece", Record::Piece(Piece { offset: 300, index: 0, count: 1, bytes: vec![0, 0, 0, 0, 0].into() })),
        ("hex gateway", Record::Gateway("host-1".into())),
        ("hex opening", opening),
        ("hex signs", signs),
    ] {
        check_hex("records.md", label, &record::encode(stamp, &record));
    }
}
