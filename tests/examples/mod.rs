//! Every message once, and a few states, as schemas, prose and vectors show them.

use nearcast::codec::bits::Bits;
use nearcast::codec::message::*;
use nearcast::codec::row::{self, Told, Trail};
use nearcast::codec::state::{self, Context, Delta, Enter, ROW_TELEPORT, Row, Single, Slot};
use nearcast::space::Pos;

/// What clients say, in the order of `In::NAMES`.
pub fn all_in() -> Vec<In> {
    let view = View { radius: Some(30.0), budget: Some(8_192) };
    let hello = Hello {
        token: Some("t".into()),
        world: "plaza".into(),
        resume: Some(Resume { token: "AQ".into(), open: Some(7), cursors: vec![("region/0/-1".into(), 42)] }),
        profile: Some("Ann".into()),
        view: Some(view),
    };
    let state = AppState::new(&[1, 2, 255]).expect("short");
    let step = Move { time: 12.5, pos: [1.0, 0.0, -3.25], yaw: 90.0, state, seen: Some(7), held_ms: Some(3.5) };
    let act =
        Act { n: 1, to: None, scope: Scope::Nearby, name: "wave".into(), data: "hi".into(), time: 13.0, pos: [1.0; 3] };
    let fields = [("on".to_owned(), Some("yes".to_owned())), ("colour".to_owned(), None)].into();
    let set = Set {
        n: 2,
        wish: Wish::Create,
        object: None,
        expect: None,
        kind: Some("lamp".into()),
        fields,
        to: None,
        yaw: 90.0,
        pos: [1.0, 0.0, -2.5],
        scope: None,
    };
    vec![
        In::Hello(hello),
        In::Hello(Hello { world: "plaza".into(), ..Hello::default() }),
        In::Auth(Reserved {}),
        In::Move(step.clone()),
        In::Move(Move { state: AppState::default(), seen: None, held_ms: None, ..step }),
        In::Pose(Reserved {}),
        In::Act(Act { scope: Scope::Region, data: String::new(), ..act.clone() }),
        In::Act(Act { scope: Scope::User, to: Some(10_485_761), ..act.clone() }),
        In::Act(act),
        In::Set(set.clone()),
        In::Set(Set { wish: Wish::Change, object: Some(1_024), expect: Some(3), kind: None, ..set }),
        In::Profile(Profile { profile: "Ann".into() }),
        In::View(view),
        In::View(View::default()),
        In::Seen(Seen { seen: 7, held_ms: 3.5 }),
        In::Ping(Ping { time: 12.5 }),
        In::Report(Report { number: 128, digest: u32::MAX, age_ms: None }),
        In::Report(Report { number: 256, digest: 0, age_ms: Some([31.5, 58.0]) }),
        In::Read(Reserved {}),
        In::GroupJoin(Reserved {}),
        In::GroupLeave(Reserved {}),
        In::Ignore(Reserved {}),
        In::Bye(ByeIn {}),
    ]
}

/// What gateways say, in the order of `Out`; states last.
pub fn all_out() -> Vec<Out> {
    let mut context = Context::default();
    let states = example_states().map(|delta| Out::State(state::to_json(&mut context, &delta)));
    let mut all = vec![
        Out::Welcome(Welcome {
            session: 10_485_762,
            entity: 10_485_763,
            world: "plaza".into(),
            min: [-2_048.0, -64.0, -2_048.0],
            max: [2_048.0, 448.0, 2_048.0],
            speed: 10.0,
            tick_ms: 50.0,
            time: 1_790_000_000_000.25,
            radius: 50.0,
            budget: 24_576,
            resumed: true,
            token: Some("AQ".into()),
            user: 10_485_762,
        }),
        Out::Event(Event {
            stream: "region/0/-1".into(),
            offset: 41,
            from: 10_485_763,
            user: 10_485_761,
            scope: Scope::Nearby,
            name: "wave".into(),
            data: String::new(),
            pos: [31.5, 0.0, -2.25],
        }),
        Out::Ack(Ack { n: 1, offset: 41, object: None, version: None }),
        Out::Ack(Ack { n: 2, offset: 42, object: Some(43 * 1_024), version: Some(1) }),
        Out::Refuse(Refuse { n: Some(1), of: "act".into(), code: "rate".into(), text: "slow down".into() }),
        Out::Refuse(Refuse { n: None, of: "pose".into(), code: "not_supported".into(), text: "later".into() }),
        Out::Unknown(Unknown { n: 1 }),
        Out::Object(Objects {
            begin: true,
            put: vec![ObjectRow {
                object: 43 * 1_024,
                version: 1,
                kind: "lamp".into(),
                pos: [1.0, 0.0, -2.5],
                yaw: 90.0,
                holder: Some(10_485_763),
                fields: [("on".to_owned(), "yes".to_owned())].into(),
            }],
            gone: vec![1_024],
            places: vec![PlaceRow {
                place: "region/0/-1".into(),
                version: 7,
                fields: [("weather".to_owned(), "rain".to_owned())].into(),
            }],
        }),
        Out::Notice(Reserved {}),
        Out::Reset(Reset { partition: 3, offset: 2_000 }),
        Out::Cursor(Cursor { stream: "partition/3".into(), offset: 2_000 }),
        Out::Correct(Reserved {}),
        Out::Stale(Stale { stale: true }),
        Out::Pong(Pong { time: 12.5, server: 1_790_000_000_000.5 }),
        Out::Moved(Reserved {}),
        Out::Bye(ByeOut { code: 4000, text: "going".into(), again: true, after_ms: 700 }),
    ];
    all.extend(states);
    all
}

/// Ann and Bob enter; Bob leaves, Zoë enters, and Ann changes her state and jumps; then she walks on.
pub fn example_states() -> [Delta; 4] {
    let row = |index, generation, (x, y, z), yaw, age_ms, flags| Row {
        slot: Slot { index, generation },
        pos: Pos { x, y, z },
        yaw,
        age_ms,
        flags,
    };
    let enter = |row, entity, profile: &str, state: &[u8]| Enter {
        row,
        entity,
        profile: profile.into(),
        state: AppState::new(state).expect("short"),
    };
    let origin = Pos { x: 3_200, y: 0, z: 0 };
    let first = Delta {
        tick: 35_800_000_000,
        full_begin: true,
        full_end: true,
        origin,
        enters: vec![
            enter(row(0, 0, (3_150, 0, -225), 64, 20, 0), 10_485_762, "Ann", &[1, 2]),
            enter(row(1, 0, (4_000, 150, 1_200), 192, 130, 0), 10_485_764, "Bob", &[]),
        ],
        ..Delta::default()
    };
    let second = Delta {
        tick: 35_800_000_001,
        origin,
        leaves: vec![Slot { index: 1, generation: 0 }],
        enters: vec![enter(row(1, 1, (3_300, 0, 0), 0, 2_000, 0), 10_485_766, "Zoë", &[])],
        changes: vec![state::Change {
            slot: Slot { index: 0, generation: 0 },
            profile: None,
            state: AppState::new(&[7]),
        }],
        ..Delta::default()
    };
    // Ann walks on from there; the last step is told in bits that others get as well.
    let told = |x, z, age| Told { pos: Pos { x, y: 0, z }, yaw: 64, age };
    let mut trail = Trail::new(told(3_150, -225, 20));
    let mut step = |mut delta: Delta, told: Told, jumped, surprise| {
        let flags = if jumped { ROW_TELEPORT } else { 0 };
        delta.updates = vec![row(0, 0, (told.pos.x, told.pos.y, told.pos.z), told.yaw, u32::from(told.age), flags)];
        let (slot, mut bits) = (0, Bits::NONE);
        row::put(&mut bits, &trail, &told, surprise);
        if delta.tick < 35_800_000_003 {
            delta.rows.singles = vec![Single { slot, trail, told, surprise, jumped }];
        } else {
            delta.rows.shared = vec![(slot, bits)];
        }
        trail.go(told, jumped, surprise);
        delta
    };
    let walk = |tick| Delta { tick, origin, ..Delta::default() };
    let second = step(second, told(3_150, -250, 21), true, 2);
    let third = step(walk(35_800_000_002), told(3_156, -249, 21), false, 1);
    let fourth = step(walk(35_800_000_003), told(3_163, -249, 21), false, 1);
    [first, second, third, fourth]
}
