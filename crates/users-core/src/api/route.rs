//! What distinguishes one operation from another, as data.

/// An operation of the API: how it is requested, and which parts of a request it reads.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The method, such as `GET`.
    pub method: &'static str,
    /// The path with its parameters, such as `/users/{id}`, as in `template.yaml`.
    pub resource: &'static str,
    /// The parts of a request that the operation reads. It ignores all others.
    pub reads: &'static [Part],
}

/// A part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The `{id}` of the path.
    Id,
    /// The query parameters.
    Query,
    /// The body.
    Body,
    /// Everything, to refuse a request that could mean fewer than all users.
    Everything,
}

impl Route {
    /// Returns whether the operation reads this part.
    #[must_use]
    pub fn reads(&self, part: Part) -> bool {
        self.reads.contains(&part)
    }
}
