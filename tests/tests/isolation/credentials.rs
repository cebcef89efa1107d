//! Who asks, and how it says so.

use api::routes::Needs;
use schemas::access::Scope;

/// Whose credential a request carries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Who {
    /// None.
    Nobody,
    /// A key of the right form that was never made.
    Stranger,
    /// A key of the own tenant that could do everything and was revoked.
    Revoked,
    /// One whose time is over.
    Expired,
    /// Keys of the own tenant with one scope each.
    Ingest,
    Read,
    Manage,
    /// A public key of the own tenant, from its page.
    Public,
    /// The same from another page.
    PublicElsewhere,
    /// A key of another tenant, with all scopes.
    Foreign,
    /// The operator's token.
    Operator,
}

impl Who {
    pub(crate) const ALL: [Self; 11] = [
        Self::Nobody,
        Self::Stranger,
        Self::Revoked,
        Self::Expired,
        Self::Ingest,
        Self::Read,
        Self::Manage,
        Self::Public,
        Self::PublicElsewhere,
        Self::Foreign,
        Self::Operator,
    ];

    /// The page from which it asks.
    pub(crate) fn origin(self) -> Option<&'static str> {
        match self {
            Self::Public => Some(PAGE),
            Self::PublicElsewhere => Some("https://elsewhere.example"),
            _ => None,
        }
    }
}

/// The page of the public key.
pub(crate) const PAGE: &str = "https://shop.example";

/// Where the credential stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Carrier {
    /// `X-API-Key`.
    Header,
    /// `Authorization: Bearer`.
    Bearer,
    /// In the body, as `sendBeacon` does.
    Body,
}

impl Carrier {
    /// The ways in which `who` can show itself to a route that needs this.
    pub(crate) fn of(who: Who, needs: Needs) -> &'static [Self] {
        match (who, needs) {
            (Who::Nobody, _) => &[Self::Header],
            (_, Needs::KeyOrBody(_)) => &[Self::Header, Self::Bearer, Self::Body],
            _ => &[Self::Header, Self::Bearer],
        }
    }
}

/// What a route that needs `needs` makes of a credential.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// 401.
    Unknown,
    /// 403.
    Forbidden,
    /// Let in, to what is its own tenant's.
    Own,
    /// Let in, to what is the foreign tenant's.
    Foreign,
}

/// The whole of the access rules, once more and in another form than the program has them.
pub(crate) fn verdict(who: Who, needs: Needs) -> Verdict {
    let scope = match needs {
        Needs::Nothing => return Verdict::Own,
        Needs::Installation if who == Who::Operator => return Verdict::Own,
        Needs::Installation => return Verdict::Unknown,
        Needs::Key(scope) | Needs::KeyOrBody(scope) => scope,
    };
    let has = |own: Scope| match own == scope {
        true => Verdict::Own,
        false => Verdict::Forbidden,
    };
    match who {
        Who::Nobody | Who::Stranger | Who::Revoked | Who::Expired | Who::Operator => {
            Verdict::Unknown
        }
        Who::Ingest | Who::Public => has(Scope::Ingest),
        Who::Read => has(Scope::Read),
        Who::Manage => has(Scope::Manage),
        Who::PublicElsewhere => Verdict::Forbidden,
        Who::Foreign => Verdict::Foreign,
    }
}
