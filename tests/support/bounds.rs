//! What a session may hand on.

use nearcast::admit::text::{Kind, clean};
use nearcast::codec::command::{Changes, Deed};
use nearcast::limits::{
    ACT_DATA_BYTES_MAX, ACT_NAME_BYTES_MAX, FIELD_BYTES_MAX, FIELD_NAME_BYTES_MAX, KIND_BYTES_MAX, PROFILE_BYTES_MAX,
    SAMPLE_AGE_MAX_US,
};
use nearcast::region::Submit;
use nearcast::settings::WorldSettings;
use nearcast::space::Pos;

/// Only what is finite, in bounds, of this time and clean is handed on.
pub fn check(submit: &Submit, settings: &WorldSettings, now_us: u64) {
    let is_clean = |text: &str, kind, max| clean(text, kind, max).as_deref() == Ok(text);
    match submit {
        Submit::Move { place, .. } => {
            assert!(settings.contains(place.pos), "{place:?}");
            assert!((now_us - SAMPLE_AGE_MAX_US..=now_us).contains(&place.time_us), "{place:?}");
        }
        Submit::Command(command) => {
            let is_word = |text: &str, max| !text.is_empty() && is_clean(text, Kind::Line, max);
            let are_clean = |fields: &Changes| {
                let mut fields = fields.iter();
                fields.all(|(name, text)| {
                    let text = text.as_deref().unwrap_or_default();
                    is_word(name, FIELD_NAME_BYTES_MAX) && is_clean(text, Kind::Field, FIELD_BYTES_MAX)
                })
            };
            let inside = |pos: Pos| settings.contains(pos);
            let is_good = match &command.deed {
                Deed::Act { name, data, .. } | Deed::Tell { name, data, .. } => {
                    is_word(name, ACT_NAME_BYTES_MAX) && is_clean(data, Kind::Data, ACT_DATA_BYTES_MAX)
                }
                Deed::Create { kind, fields, .. } => is_word(kind, KIND_BYTES_MAX) && are_clean(fields),
                Deed::Change { to, fields, .. } => to.is_none_or(|(to, _)| inside(to)) && are_clean(fields),
                Deed::Release(_, (to, _)) => inside(*to),
                Deed::Environment { fields, .. } => are_clean(fields),
                Deed::Grab(_) | Deed::Remove(_) => true,
            };
            assert!(is_good && inside(command.pos) && inside(command.from), "{command:?}");
        }
        Submit::Open { profile, radius_m, .. } => {
            assert!(is_clean(profile, Kind::Line, PROFILE_BYTES_MAX) && radius_m.is_finite(), "{submit:?}");
        }
        Submit::Profile { profile, .. } => assert!(is_clean(profile, Kind::Line, PROFILE_BYTES_MAX), "{submit:?}"),
        Submit::Radius { radius_m, .. } => assert!(radius_m.is_finite(), "{submit:?}"),
        Submit::Recall { ask, .. } => assert!(settings.contains(ask.at) && ask.radius_m.is_finite(), "{ask:?}"),
        Submit::Gone { .. } | Submit::Leave { .. } | Submit::Abandon { .. } | Submit::Confirm { .. } => {}
    }
}
