//! DNS records of ours whose machine is over. A name that leads to a stranger's address is worse than none.

use super::{Asked, First, Judged, Row, Site, UNREADABLE, Verdict};
use crate::names::RecordOwner;
use ebbtide_api::workspace::State;

/// Judges one record whose comment says that it is ours.
pub fn judge_name(owner: &RecordOwner, row: Option<&Row>, asked: &Asked, site: &Site<'_>) -> Judged {
    if owner.install != site.install {
        return Judged::new(Verdict::Leave, "it does not carry our install id");
    }
    let fate = match asked {
        Asked::NotYet => {
            return match row {
                Some(row) if row.may_have_machine() && row.generation == owner.generation => {
                    Judged::new(Verdict::Fine, "its machine lives")
                }
                Some(row) => Judged::new(
                    Verdict::Ask,
                    format!("the index has its workspace {} at machine {}", row.state, row.generation),
                ),
                None => Judged::new(Verdict::Ask, "the index does not know its workspace"),
            };
        }
        Asked::Unreadable => return Judged::new(Verdict::Leave, UNREADABLE),
        Asked::Unknown if row.is_some_and(|row| row.state == State::Deleted) => {
            let because = "the record of its workspace is lost, and its owner deleted it";
            return Judged::new(Verdict::End(First::Nothing), because);
        }
        Asked::Unknown if row.is_some() => {
            return Judged::new(Verdict::Leave, "the record of its workspace is lost; DELETE the workspace");
        }
        Asked::Unknown if site.index_in_doubt => {
            return Judged::new(
                Verdict::Leave,
                "no workspace answers for it, and the index may have been lost",
            );
        }
        Asked::Unknown => {
            return Judged::new(Verdict::End(First::Nothing), "no workspace answers for it");
        }
        Asked::Known(fate) => fate,
    };
    if fate.generation < owner.generation {
        return Judged::new(Verdict::Leave, "its workspace knows of earlier machines only");
    }
    if fate.generation == owner.generation && fate.may_have_machine {
        return Judged::new(Verdict::Fine, "its machine lives");
    }
    Judged::new(Verdict::End(First::Nothing), format!("its machine is over; its workspace is {}", fate.state))
}
