//! Protocol v1: every message, in both directions. The prose is in `schemas/protocol.md`; the JSON Schema beside it
//! is made from these types. A message is a map with one entry: its name, and a map of its fields.
//!
//! To add one: a variant here, then follow the compiler (`CONTRIBUTING.md`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::IntoDeserializer as _;
use serde::{Deserialize, Serialize};

/// A number of an entity or session; below 2^53, so that JavaScript holds it exactly.
pub type Id = u64;

/// Version of the protocol, in the WebSocket subprotocols `nearcast.v1.json` and `nearcast.v1.msgpack`.
pub const VERSION: u32 = 1;

/// What a client says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum In {
    /// First message: which world.
    Hello(Hello),
    /// Reserved: a fresh token for a running session.
    Auth(Reserved),
    /// Where the avatar is.
    Move(Move),
    /// Reserved: joints of the avatar.
    Pose(Reserved),
    /// Something done that others are told of.
    Act(Act),
    /// A wish about an object, or about what a place is like.
    Set(Set),
    /// Who the avatar is: name, looks.
    Profile(Profile),
    /// How far to see, how many bytes to get.
    View(View),
    /// Which state was seen last.
    Seen(Seen),
    /// Asks for the gateway's clock.
    Ping(Ping),
    /// What the client holds, for comparison.
    Report(Report),
    /// Reserved: a notice was read.
    Read(Reserved),
    /// Reserved: join a group.
    GroupJoin(Reserved),
    /// Reserved: leave a group.
    GroupLeave(Reserved),
    /// Reserved: hide a user.
    Ignore(Reserved),
    /// The avatar leaves at once.
    Bye(ByeIn),
}

/// What a client hears.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Out {
    /// Answer to `hello`.
    Welcome(Welcome),
    /// Who is near: enters, updates, leaves. JSON only; MessagePack carries it as one binary field.
    State(State),
    /// Something done by somebody near.
    Event(Event),
    /// The action is in the log, and this gateway has folded it.
    Ack(Ack),
    /// The message had no effect.
    Refuse(Refuse),
    /// The action may or may not take effect: send it again with the same number.
    Unknown(Unknown),
    /// Objects that entered, changed or left, and what places are like.
    Object(Objects),
    /// Reserved: a notice to the user.
    Notice(Reserved),
    /// Events of a stream were missed.
    Reset(Reset),
    /// Up to where events have been told.
    Cursor(Cursor),
    /// Reserved: the avatar is elsewhere.
    Correct(Reserved),
    /// Part of what the client sees is old, because the log is silent.
    Stale(Stale),
    /// Answer to `ping`.
    Pong(Pong),
    /// Reserved: go to another gateway.
    Moved(Reserved),
    /// The session ends.
    Bye(ByeOut),
}

/// A name that v1 reserves; its fields come with the feature. Answered with `refuse: not_supported`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reserved {}

/// First message of a client.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hello {
    /// The secret of a game server, for one; else not looked at yet. At most 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Name of the world to enter.
    pub world: String,
    /// To go on as an earlier session; if that is not possible any more the answer is a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
    /// Profile to start with, see `profile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// View to start with, see `view`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<View>,
}

/// What a client knows of the session that it wants to go on as.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Resume {
    /// `welcome.token` of the last time.
    pub token: String,
    /// The lowest number of an action that has no answer, or else the number of the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<u64>,
    /// How far events have been told: `[stream, next offset]`, by `event`, `cursor` and `reset`. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cursors: Vec<(String, u64)>,
}

/// Where the avatar is, when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Move {
    /// The client's clock when the avatar was there, ms; any epoch, never stepping back.
    pub time: f64,
    /// Metres: x east, y up, z towards the viewer (right-handed).
    pub pos: [f64; 3],
    /// Facing, degrees; 0 along +x, 90 along −z.
    #[serde(default)]
    pub yaw: f64,
    /// Application state, whole in every sample: at most 16 bytes (base64 in JSON).
    #[serde(default, skip_serializing_if = "AppState::is_empty")]
    pub state: AppState,
    /// `seen` said on the way, see there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<u64>,
    /// See `seen.held_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_ms: Option<f64>,
}

/// Something done that others are told of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Act {
    /// The client's number for it, rising, below 2^53. A resend carries the same number, time and place.
    pub n: u64,
    /// Who is told.
    #[serde(deserialize_with = "by_name")]
    pub scope: Scope,
    /// With scope `user`, and only then: which user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Id>,
    /// What was done; the application's word, 1 to 32 bytes.
    pub name: String,
    /// More about it; at most 500 characters and 2,000 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub data: String,
    /// The client's clock when it was done, ms.
    pub time: f64,
    /// Where it was done, metres.
    pub pos: [f64; 3],
}

/// A wish about an object. It takes effect, or not, where and when the log says; of several at the same moment one wins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Set {
    /// The client's number for it, rising; the same count as in `act`. A resend is the same in everything.
    pub n: u64,
    /// What is to be done.
    #[serde(deserialize_with = "by_name")]
    pub wish: Wish,
    /// The object; not with `create` and `environment`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Id>,
    /// The version that it must have; any, if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<u64>,
    /// Of a new object: what it is; the application's word, 1 to 32 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What is different: at most 32 fields, names of 1 to 32 bytes, texts of at most 1,024; null takes a field away.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Option<String>>,
    /// Where the object is to be: with `release`, and with `change` if it is to be moved; within reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<[f64; 3]>,
    /// How it is to face, degrees; with `create` and where `to` is.
    #[serde(default)]
    pub yaw: f64,
    /// Where the object is, as the client was told last; where a new one is to be; or where the environment is meant.
    pub pos: [f64; 3],
    /// Of an environment: of the place's region, or of the world.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "by_name_if_any")]
    pub scope: Option<Scope>,
}

/// What is wished of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// A new one, of `kind`, at `pos`.
    Create,
    /// Other fields, another place.
    Change,
    /// Into the avatar's hands.
    Grab,
    /// Out of its hands, to a place.
    Release,
    /// It goes for good.
    Remove,
    /// What a region or the world is like; game servers only.
    Environment,
}

/// Reads what has a name by its name only: MessagePack's reader takes its place in the list of all as well, which is another
/// one when something is added.
fn by_name<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::deserialize(String::deserialize(deserializer)?.into_deserializer())
}

/// The same of what may be left out.
fn by_name_if_any<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Option::<String>::deserialize(deserializer)?.map(|name| T::deserialize(name.into_deserializer())).transpose()
}

/// Who is told of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Everybody whose radius reaches the place.
    Nearby,
    /// Everybody in the place's region of 128 m.
    Region,
    /// Everybody in the world.
    World,
    /// All sessions of one user; of the cluster, where worlds share a log.
    User,
}

/// Who the avatar is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Profile {
    /// The application's text (a name, or JSON), at most 96 bytes of UTF-8.
    pub profile: String,
}

/// How far to see, how many bytes to get. What is left out stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct View {
    /// Metres, 1 to 128; clamped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radius: Option<f64>,
    /// Bytes per second, 2,048 to 262,144; clamped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<u32>,
}

/// Which state was seen last; to be said at latest 100 ms after a state came, on its own or in `move`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Seen {
    /// Number of the newest state received.
    pub seen: u64,
    /// Milliseconds between its receipt and this message.
    #[serde(default)]
    pub held_ms: f64,
}

/// Asks for the gateway's clock.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ping {
    /// The client's clock, ms; comes back unchanged.
    pub time: f64,
}

/// What the client holds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// The state after which the view was hashed, a multiple of 128.
    pub number: u64,
    /// The hash, see `schemas/protocol.md`.
    pub digest: u32,
    /// How old updates have lately been on receipt, ms: half of them no more, 99 of 100 no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<[f64; 2]>,
}

/// The client goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ByeIn {}

/// Answer to `hello`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Welcome {
    /// Number of this session.
    pub session: Id,
    /// Number of its avatar.
    pub entity: Id,
    /// The world entered.
    pub world: String,
    /// West, bottom, north corner, metres.
    pub min: [f64; 3],
    /// East, top, south corner, metres.
    pub max: [f64; 3],
    /// Highest speed, m/s.
    pub speed: f64,
    /// Milliseconds between ticks; tick `n` is at `n * tick_ms` on the gateway's clock.
    pub tick_ms: f64,
    /// The gateway's clock, ms since 1970.
    pub time: f64,
    /// Radius in force, metres.
    pub radius: f64,
    /// Budget in force, bytes per second.
    pub budget: u32,
    /// Whether this is the earlier session, which goes on.
    pub resumed: bool,
    /// Opens this session again, for two minutes after the connection is lost. Keep it secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Number of its user: for now that of their first session.
    pub user: Id,
}

/// A numbered difference to what the client holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct State {
    /// Counts the states of this session from 1.
    pub number: u64,
    /// The tick it shows.
    pub tick: u64,
    /// A new table starts before this state's content; the old stays on the screen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full_begin: bool,
    /// The new table is whole after this state's content; the old goes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full_end: bool,
    /// Part of what the radius covers is still being read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// Who left: `[slot, generation]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leave: Vec<(u16, u8)>,
    /// Who entered: `[slot, generation, x, y, z, yaw, age_ms, flags, entity, profile, state]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enter: Vec<EnterRow>,
    /// Changed profiles and application states: `[slot, generation, profile or null, state or null]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub change: Vec<ChangeRow>,
    /// Who moved: `[slot, generation, x, y, z, yaw, age_ms, flags]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub update: Vec<UpdateRow>,
}

/// slot, generation, x, y, z (metres), yaw (degrees), age at the tick (ms), flags.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UpdateRow(pub u16, pub u8, pub f64, pub f64, pub f64, pub f64, pub u32, pub u8);

/// An update row, then entity, profile, application state (base64).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnterRow(
    pub u16,
    pub u8,
    pub f64,
    pub f64,
    pub f64,
    pub f64,
    pub u32,
    pub u8,
    pub Id,
    pub String,
    pub AppState,
);

/// slot, generation, new profile or null, new application state or null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeRow(pub u16, pub u8, pub Option<String>, pub Option<AppState>);

/// What is new of objects in sight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Objects {
    /// The list is anew: what is not in it or in a later one is not in sight.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub begin: bool,
    /// Who came into sight or changed, whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub put: Vec<ObjectRow>,
    /// Who is out of sight, or gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<Id>,
    /// What places in sight are like.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<PlaceRow>,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectRow {
    /// Its number, for ever.
    pub object: Id,
    /// Counts its changes.
    pub version: u64,
    /// What it is.
    pub kind: String,
    /// Where it is, metres; while somebody holds it, where it was taken.
    pub pos: [f64; 3],
    /// How it faces, degrees.
    pub yaw: f64,
    /// Whose avatar holds it: draw it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Id>,
    /// What it is like.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}

/// What a place is like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlaceRow {
    /// `region/X/Z`, or `world`.
    pub place: String,
    /// Counts its changes.
    pub version: u64,
    /// All its fields.
    pub fields: BTreeMap<String, String>,
}

/// Something done by somebody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// The stream it belongs to, such as `region/0/-1`; order holds within a stream.
    pub stream: String,
    /// Its offset; rises within a stream.
    pub offset: u64,
    /// Whose avatar did it.
    pub from: Id,
    /// Which user that is: to whom one answers.
    pub user: Id,
    /// Who is told.
    pub scope: Scope,
    /// What was done.
    pub name: String,
    /// More about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub data: String,
    /// Where, metres.
    pub pos: [f64; 3],
}

/// An action took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ack {
    /// The action's number.
    pub n: u64,
    /// Where in its partition it was folded. A repeated action is acknowledged at the repetition's offset.
    pub offset: u64,
    /// Of a `set`: which object, 0 for an environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Id>,
    /// Of a `set`: the version that it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// A message had no effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Refuse {
    /// The action's number, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// Name of the refused message.
    pub of: Cow<'static, str>,
    /// Why, for programs.
    pub code: Cow<'static, str>,
    /// Why, for people.
    pub text: Cow<'static, str>,
}

/// Nobody knows whether the action took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unknown {
    /// The action's number: send it again.
    pub n: u64,
}

/// Events were missed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reset {
    /// The partition of `events` whose streams have a gap.
    pub partition: u16,
    /// The next offset that will be told.
    pub offset: u64,
}

/// Up to where events have been told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cursor {
    /// Names the partition of `events`, such as `partition/3`; for `hello.resume.cursors`.
    pub stream: String,
    /// What stands in it below has been told, as far as it reaches the client.
    pub offset: u64,
}

/// Whether part of the view is old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stale {
    /// True when the log went silent, false when all is fresh again.
    pub stale: bool,
}

/// Answer to `ping`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pong {
    /// `ping.time`. The gateway's clock less the middle of sending and receipt is the offset.
    pub time: f64,
    /// The gateway's clock, ms since 1970.
    pub server: f64,
}

/// The session ends; the WebSocket close code says the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ByeOut {
    /// WebSocket close code, see `schemas/protocol.md`.
    pub code: u16,
    /// Why, for people.
    pub text: Cow<'static, str>,
    /// Whether to come back with the same request.
    pub again: bool,
    /// Milliseconds to wait before that.
    pub after_ms: u32,
}

/// Application state: opaque bytes, at most 16. base64 in JSON, bin in MessagePack.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct AppState {
    len: u8,
    bytes: [u8; crate::limits::APP_STATE_BYTES_MAX],
}

impl AppState {
    /// `None` when longer than 16 bytes.
    #[must_use]
    pub fn new(slice: &[u8]) -> Option<AppState> {
        let mut state = AppState { len: u8::try_from(slice.len()).ok()?, ..AppState::default() };
        state.bytes.get_mut(..slice.len())?.copy_from_slice(slice);
        Some(state)
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl std::fmt::Debug for AppState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.bytes().fmt(f)
    }
}

impl Serialize for AppState {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use base64::{Engine, engine::general_purpose::STANDARD};
        if serializer.is_human_readable() {
            serializer.serialize_str(&STANDARD.encode(self.bytes()))
        } else {
            serializer.serialize_bytes(self.bytes())
        }
    }
}

impl<'de> Deserialize<'de> for AppState {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<AppState, D::Error> {
        use base64::{Engine, engine::general_purpose::STANDARD};
        use serde::de::Error;
        let too_long = || D::Error::custom("application state is longer than 16 bytes");
        if deserializer.is_human_readable() {
            let text = <Cow<'de, str>>::deserialize(deserializer)?;
            let bytes =
                STANDARD.decode(text.as_bytes()).map_err(|_| D::Error::custom("application state is not base64"))?;
            AppState::new(&bytes).ok_or_else(too_long)
        } else {
            AppState::new(&serde_bytes::ByteBuf::deserialize(deserializer)?).ok_or_else(too_long)
        }
    }
}

impl JsonSchema for AppState {
    fn schema_name() -> Cow<'static, str> {
        "AppState".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "contentEncoding": "base64", "maxLength": 24,
            "description": "Application state: at most 16 bytes, base64 (in MessagePack: bin)."
        })
    }
}

impl In {
    /// All names that a client may say.
    pub const NAMES: [&'static str; 16] = [
        "hello",
        "auth",
        "move",
        "pose",
        "act",
        "set",
        "profile",
        "view",
        "seen",
        "ping",
        "report",
        "read",
        "group_join",
        "group_leave",
        "ignore",
        "bye",
    ];

    /// The message's name on the wire.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            In::Hello(_) => "hello",
            In::Auth(_) => "auth",
            In::Move(_) => "move",
            In::Pose(_) => "pose",
            In::Act(_) => "act",
            In::Set(_) => "set",
            In::Profile(_) => "profile",
            In::View(_) => "view",
            In::Seen(_) => "seen",
            In::Ping(_) => "ping",
            In::Report(_) => "report",
            In::Read(_) => "read",
            In::GroupJoin(_) => "group_join",
            In::GroupLeave(_) => "group_leave",
            In::Ignore(_) => "ignore",
            In::Bye(_) => "bye",
        }
    }
}
