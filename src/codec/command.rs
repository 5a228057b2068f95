//! Commands as they stand in the log: something done, or a wish about an object; and objects themselves, as snapshots and
//! crossings carry them. The bytes are in `schemas/records.md`; the two directions stand side by side.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::message::{Id, Scope};
use super::reader::{Malformed, Reader, put_short, put_varint};
use crate::limits::{
    ACT_DATA_BYTES_MAX, ACT_NAME_BYTES_MAX, FIELD_BYTES_MAX, FIELD_NAME_BYTES_MAX, FIELDS_MAX, KIND_BYTES_MAX,
};
pub use crate::settings::Rules;
use crate::space::Pos;

/// What an object or an environment is like: names and texts of the application.
pub type Fields = BTreeMap<Arc<str>, Arc<str>>;
/// What is to change of them: a new text, or `None` where a field goes.
pub type Changes = Vec<(Arc<str>, Option<Arc<str>>)>;

/// A command: it takes effect where and when the log says, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The session that gave it; with `n` its id. 0 for what gateways do of themselves: that has no id, and names versions.
    pub session: Id,
    /// The session's number for it.
    pub n: u64,
    /// The session's avatar.
    pub entity: Id,
    /// Of a game server: more objects, more open numbers.
    pub trusted: bool,
    /// Where it is aimed. Its region decides in which partition it stands, however often it is sent.
    pub pos: Pos,
    /// Where the avatar was: it reaches so far and no further.
    pub from: Pos,
    /// What is to be done.
    pub deed: Deed,
}

/// What a command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Something that others are told of.
    Act {
        /// Who is told; not `user`, which is [`Deed::Tell`].
        scope: Scope,
        /// Whose session it is.
        user: Id,
        /// What was done.
        name: Arc<str>,
        /// More about it.
        data: Arc<str>,
    },
    /// Something that one user is told: it stands in `direct`, in the partition of that user.
    Tell {
        /// Who is told.
        to: Id,
        /// Whose session it is.
        user: Id,
        /// What was done.
        name: Arc<str>,
        /// More about it.
        data: Arc<str>,
    },
    /// A new object, at the command's place. Its id follows from where in the log it stands.
    Create {
        /// What it is; the application's word.
        kind: Arc<str>,
        /// Facing, 1/256 turn.
        yaw: u8,
        /// What it is like.
        fields: Changes,
    },
    /// Another place, or other fields.
    Change {
        /// Which, at which version.
        of: Aim,
        /// Where it is from now on, and how it faces.
        to: Option<(Pos, u8)>,
        /// What is different.
        fields: Changes,
    },
    /// Into the hands of the session's avatar.
    Grab(Aim),
    /// Out of its hands, to a place.
    Release(Aim, (Pos, u8)),
    /// There is no such object any more.
    Remove(Aim),
    /// What the place's region, or the world, is like.
    Environment {
        /// Of the world: it stands in `social`.
        of_world: bool,
        /// The version it must have.
        expect: Option<u64>,
        /// What is different.
        fields: Changes,
    },
}

/// What a command is aimed at: an object, and the version that it must have for the command to take effect; `None`: any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aim {
    /// Which.
    pub id: Id,
    /// At which version.
    pub expect: Option<u64>,
}

/// A thing in the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its number; unlike those of all others in its world, for ever.
    pub id: Id,
    /// Counts its changes, from 1.
    pub version: u64,
    /// The session that made it.
    pub maker: Id,
    /// What it is; the application's word.
    pub kind: Arc<str>,
    /// Where it is; while it is held, where it was taken.
    pub pos: Pos,
    /// Facing, 1/256 turn.
    pub yaw: u8,
    /// Who holds it.
    pub holder: Option<Holder>,
    /// What it is like.
    pub fields: Fields,
}

/// Whose hands an object is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The session.
    pub session: Id,
    /// Its avatar.
    pub entity: Id,
}

/// What a region or the world is like, beside what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// Counts its changes.
    pub version: u64,
    /// What it is like.
    pub fields: Fields,
}

/// What became of a command when it was folded. A function of the log, so the same everywhere and for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It took effect; of an object (0: an environment) it made this version.
    Done(Option<(Id, u64)>),
    /// It has no effect.
    Denied(Denial),
}

/// Why a command that stands in the log has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denial {
    /// There is no such object in this partition.
    NoObject,
    /// It has another version by now.
    Version,
    /// Somebody else holds it.
    Held,
    /// The session does not hold it.
    NotHeld,
    /// Another session has made it.
    NotYours,
    /// It is not within reach.
    TooFar,
    /// The region has no room for more objects or bytes.
    RegionFull,
    /// The session has made, or holds, as many objects as it may.
    TooMany,
    /// It would have too many fields, or too long ones.
    Fields,
}

impl Command {
    /// Whether it concerns the whole world, and so stands in `social`.
    #[must_use]
    pub fn is_of_world(&self) -> bool {
        match &self.deed {
            Deed::Act { scope, .. } => *scope == Scope::World,
            Deed::Environment { of_world, .. } => *of_world,
            Deed::Tell { .. }
            | Deed::Create { .. }
            | Deed::Change { .. }
            | Deed::Grab(_)
            | Deed::Release(..)
            | Deed::Remove(_) => false,
        }
    }

    /// The user whom it is told to, if it is one; then it stands in `direct`.
    #[must_use]
    pub fn addressee(&self) -> Option<Id> {
        if let Deed::Tell { to, .. } = self.deed { Some(to) } else { None }
    }
}

impl Denial {
    /// All there are.
    pub const ALL: [Denial; 9] = [
        Denial::NoObject,
        Denial::Version,
        Denial::Held,
        Denial::NotHeld,
        Denial::NotYours,
        Denial::TooFar,
        Denial::RegionFull,
        Denial::TooMany,
        Denial::Fields,
    ];

    fn code(self) -> u8 {
        match self {
            Denial::NoObject => 1,
            Denial::Version => 2,
            Denial::Held => 3,
            Denial::NotHeld => 4,
            Denial::RegionFull => 5,
            Denial::TooMany => 6,
            Denial::Fields => 7,
            Denial::NotYours => 8,
            Denial::TooFar => 9,
        }
    }
}

impl Object {
    /// What it takes of its region's room, bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        OBJECT_BYTES + self.kind.len() + size_of_fields(&self.fields)
    }
}

/// What every object takes beside its kind and fields, bytes.
const OBJECT_BYTES: usize = 64;

/// What fields take, bytes: each its texts and four more.
#[must_use]
pub fn size_of_fields(fields: &Fields) -> usize {
    fields.iter().map(|(name, text)| name.len() + text.len() + 4).sum()
}

// --- commands ---------------------------------------------------------------------------------------------------------

const TRUSTED: u8 = 0x80;
const CREATE: u8 = 1;
const CHANGE: u8 = 2;
const GRAB: u8 = 3;
const RELEASE: u8 = 4;
const REMOVE: u8 = 5;
const ENVIRONMENT: u8 = 6;
const ACT: u8 = 7;
const TELL: u8 = 8;

pub(super) fn put_command(out: &mut Vec<u8>, command: &Command) {
    let Command { session, n, entity, trusted, pos, from, deed } = command;
    out.extend_from_slice(&session.to_le_bytes());
    put_varint(out, *n);
    out.extend_from_slice(&entity.to_le_bytes());
    put_pos(out, *pos);
    put_pos(out, *from);
    let trusted = if *trusted { TRUSTED } else { 0 };
    let mut head = |kind: u8| out.push(kind | trusted);
    match deed {
        Deed::Act { scope, user, name, data } => {
            head(ACT);
            out.push(match scope {
                Scope::Nearby => 0,
                Scope::Region => 1,
                Scope::World => 2,
                // Never made: it is read as no scope.
                Scope::User => u8::MAX,
            });
            put_varint(out, *user);
            put_short(out, name.as_bytes());
            put_text(out, data);
        }
        Deed::Tell { to, user, name, data } => {
            head(TELL);
            put_varint(out, *to);
            put_varint(out, *user);
            put_short(out, name.as_bytes());
            put_text(out, data);
        }
        Deed::Create { kind, yaw, fields } => {
            head(CREATE);
            put_short(out, kind.as_bytes());
            out.push(*yaw);
            put_changes(out, fields);
        }
        Deed::Change { of, to, fields } => {
            head(CHANGE);
            put_aim(out, of);
            out.push(u8::from(to.is_some()));
            to.iter().for_each(|place| put_place(out, *place));
            put_changes(out, fields);
        }
        Deed::Grab(of) => {
            head(GRAB);
            put_aim(out, of);
        }
        Deed::Release(of, to) => {
            head(RELEASE);
            put_aim(out, of);
            put_place(out, *to);
        }
        Deed::Remove(of) => {
            head(REMOVE);
            put_aim(out, of);
        }
        Deed::Environment { of_world, expect, fields } => {
            head(ENVIRONMENT);
            out.push(u8::from(*of_world));
            put_option(out, *expect);
            put_changes(out, fields);
        }
    }
}

pub(super) fn command(reader: &mut Reader<'_>) -> Result<Command, Malformed> {
    let (session, n, entity) = (reader.u64()?, reader.varint()?, reader.u64()?);
    let (aimed, from) = (pos(reader)?, pos(reader)?);
    let head = reader.u8()?;
    let deed = match head & !TRUSTED {
        ACT => {
            let scope = match reader.u8()? {
                0 => Scope::Nearby,
                1 => Scope::Region,
                2 => Scope::World,
                _ => return Err(Malformed::Bad("scope")),
            };
            let user = reader.varint()?;
            let name = reader.short_str(ACT_NAME_BYTES_MAX, "action name")?.into();
            Deed::Act { scope, user, name, data: text(reader, ACT_DATA_BYTES_MAX, "action data")? }
        }
        TELL => {
            let (to, user) = (reader.varint()?, reader.varint()?);
            let name = reader.short_str(ACT_NAME_BYTES_MAX, "action name")?.into();
            Deed::Tell { to, user, name, data: text(reader, ACT_DATA_BYTES_MAX, "action data")? }
        }
        CREATE => {
            let kind = reader.short_str(KIND_BYTES_MAX, "kind")?.into();
            Deed::Create { kind, yaw: reader.u8()?, fields: changes(reader)? }
        }
        CHANGE => {
            let of = aim(reader)?;
            let to = match reader.u8()? {
                0 => None,
                1 => Some(place(reader)?),
                _ => return Err(Malformed::Bad("place")),
            };
            Deed::Change { of, to, fields: changes(reader)? }
        }
        GRAB => Deed::Grab(aim(reader)?),
        RELEASE => Deed::Release(aim(reader)?, place(reader)?),
        REMOVE => Deed::Remove(aim(reader)?),
        ENVIRONMENT => {
            let of_world = match reader.u8()? {
                0 => false,
                1 => true,
                _ => return Err(Malformed::Bad("environment")),
            };
            Deed::Environment { of_world, expect: option(reader)?, fields: changes(reader)? }
        }
        _ => return Err(Malformed::Bad("deed")),
    };
    Ok(Command { session, n, entity, trusted: head & TRUSTED != 0, pos: aimed, from, deed })
}

fn put_aim(out: &mut Vec<u8>, of: &Aim) {
    out.extend_from_slice(&of.id.to_le_bytes());
    put_option(out, of.expect);
}

fn aim(reader: &mut Reader<'_>) -> Result<Aim, Malformed> {
    Ok(Aim { id: reader.u64()?, expect: option(reader)? })
}

/// A number that may lack: itself and 1, or 0.
fn put_option(out: &mut Vec<u8>, number: Option<u64>) {
    put_varint(out, number.map_or(0, |number| number.saturating_add(1)));
}

fn option(reader: &mut Reader<'_>) -> Result<Option<u64>, Malformed> {
    Ok(reader.varint()?.checked_sub(1))
}

fn put_place(out: &mut Vec<u8>, (pos, yaw): (Pos, u8)) {
    put_pos(out, pos);
    out.push(yaw);
}

fn place(reader: &mut Reader<'_>) -> Result<(Pos, u8), Malformed> {
    Ok((pos(reader)?, reader.u8()?))
}

fn put_changes(out: &mut Vec<u8>, changes: &Changes) {
    out.push(changes.len() as u8);
    for (name, text) in changes {
        put_short(out, name.as_bytes());
        out.push(u8::from(text.is_some()));
        text.iter().for_each(|text| put_text(out, text));
    }
}

fn changes(reader: &mut Reader<'_>) -> Result<Changes, Malformed> {
    let count = usize::from(reader.u8()?);
    if count > FIELDS_MAX {
        return Err(Malformed::Bad("number of fields"));
    }
    let change = |_| {
        let name = reader.short_str(FIELD_NAME_BYTES_MAX, "field name")?.into();
        let text = match reader.u8()? {
            0 => None,
            1 => Some(text(reader, FIELD_BYTES_MAX, "field")?),
            _ => return Err(Malformed::Bad("field")),
        };
        Ok((name, text))
    };
    (0..count).map(change).collect()
}

// --- objects ----------------------------------------------------------------------------------------------------------

/// Appends an object, whole.
pub fn put_object(out: &mut Vec<u8>, object: &Object) {
    let Object { id, version, maker, kind, pos, yaw, holder, fields } = object;
    out.extend_from_slice(&id.to_le_bytes());
    put_varint(out, *version);
    out.extend_from_slice(&maker.to_le_bytes());
    put_short(out, kind.as_bytes());
    put_place(out, (*pos, *yaw));
    out.push(u8::from(holder.is_some()));
    if let Some(Holder { session, entity }) = holder {
        out.extend_from_slice(&session.to_le_bytes());
        out.extend_from_slice(&entity.to_le_bytes());
    }
    put_fields(out, fields);
}

/// Reads an object.
///
/// # Errors
/// When the bytes are none.
pub fn object(reader: &mut Reader<'_>) -> Result<Object, Malformed> {
    let (id, version, maker) = (reader.u64()?, reader.varint()?, reader.u64()?);
    let kind = reader.short_str(KIND_BYTES_MAX, "kind")?.into();
    let (pos, yaw) = place(reader)?;
    let holder = match reader.u8()? {
        0 => None,
        1 => Some(Holder { session: reader.u64()?, entity: reader.u64()? }),
        _ => return Err(Malformed::Bad("holder")),
    };
    Ok(Object { id, version, maker, kind, pos, yaw, holder, fields: fields(reader)? })
}

/// Appends fields.
pub fn put_fields(out: &mut Vec<u8>, fields: &Fields) {
    out.push(fields.len() as u8);
    for (name, text) in fields {
        put_short(out, name.as_bytes());
        put_text(out, text);
    }
}

/// Reads fields.
///
/// # Errors
/// When the bytes are none, or there are too many or too long ones.
pub fn fields(reader: &mut Reader<'_>) -> Result<Fields, Malformed> {
    let count = usize::from(reader.u8()?);
    if count > FIELDS_MAX {
        return Err(Malformed::Bad("number of fields"));
    }
    let mut fields = Fields::new();
    for _ in 0..count {
        let name = reader.short_str(FIELD_NAME_BYTES_MAX, "field name")?.into();
        fields.insert(name, text(reader, FIELD_BYTES_MAX, "field")?);
    }
    Ok(fields)
}

// --- rules ------------------------------------------------------------------------------------------------------------

/// Appends rules.
pub fn put_rules(out: &mut Vec<u8>, rules: &Rules) {
    let Rules { revision, session_objects, region_objects, region_bytes, reach_cm } = rules;
    out.extend_from_slice(&revision.to_le_bytes());
    out.extend_from_slice(&session_objects.to_le_bytes());
    out.extend_from_slice(&region_objects.to_le_bytes());
    out.extend_from_slice(&region_bytes.to_le_bytes());
    out.extend_from_slice(&reach_cm.to_le_bytes());
}

/// Reads rules.
///
/// # Errors
/// When the bytes are none.
pub fn rules(reader: &mut Reader<'_>) -> Result<Rules, Malformed> {
    Ok(Rules {
        revision: reader.u32()?,
        session_objects: reader.u16()?,
        region_objects: reader.u16()?,
        region_bytes: reader.u32()?,
        reach_cm: reader.u16()?,
    })
}

// --- verdicts, for snapshots ------------------------------------------------------------------------------------------

/// Appends a verdict.
pub fn put_verdict(out: &mut Vec<u8>, verdict: Verdict) {
    match verdict {
        Verdict::Done(None) => out.push(0),
        Verdict::Done(Some((object, version))) => {
            out.push(u8::MAX);
            put_varint(out, object);
            put_varint(out, version);
        }
        Verdict::Denied(denial) => out.push(denial.code()),
    }
}

/// Reads a verdict.
///
/// # Errors
/// When the bytes are none.
pub fn verdict(reader: &mut Reader<'_>) -> Result<Verdict, Malformed> {
    Ok(match reader.u8()? {
        0 => Verdict::Done(None),
        u8::MAX => Verdict::Done(Some((reader.varint()?, reader.varint()?))),
        code => {
            let denial = Denial::ALL.into_iter().find(|denial| denial.code() == code);
            Verdict::Denied(denial.ok_or(Malformed::Bad("denial"))?)
        }
    })
}

// --- parts of all -----------------------------------------------------------------------------------------------------

/// A text of up to 64 KiB: its length as u16, its bytes.
fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn text(reader: &mut Reader<'_>, max: usize, what: &'static str) -> Result<Arc<str>, Malformed> {
    let len = usize::from(reader.u16()?);
    if len > max {
        return Err(Malformed::Bad(what));
    }
    std::str::from_utf8(reader.take(len)?).map(Into::into).map_err(|_| Malformed::Bad(what))
}

pub(super) fn put_pos(out: &mut Vec<u8>, pos: Pos) {
    for axis in [pos.x, pos.y, pos.z] {
        out.extend_from_slice(&axis.to_le_bytes());
    }
}

pub(super) fn pos(reader: &mut Reader<'_>) -> Result<Pos, Malformed> {
    let mut axis = || {
        let cm = reader.i32()?;
        if cm.unsigned_abs() <= i32::MAX as u32 / 4 { Ok(cm) } else { Err(Malformed::Bad("position")) }
    };
    Ok(Pos { x: axis()?, y: axis()?, z: axis()? })
}
