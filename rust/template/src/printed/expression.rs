//! Kinds of expressions.

use minijinja::machinery::ast::{
    BinOpKind, Call, CallArg, Compare, CompareOpKind, Expr, Filter, Macro, Test, UnaryOpKind,
};

use super::kind::{Kind, Known, Refused, State};
use super::{DEPTH, ROLES, Walk};
use crate::python::is_space;
use crate::skeleton::OURS;

impl<'a> Walk<'a> {
    /// The kind of an expression's value.
    pub(super) fn value(&mut self, value: &'a Expr<'a>, state: &State) -> Result<Known, Refused> {
        self.step()?;
        match value {
            // what an escape wrote
            Expr::Const(constant) if constant.value.as_str().is_some_and(|text| text.contains(OURS)) => {
                Err(Refused)
            }
            Expr::Const(constant) if constant.value.is_none() => Ok(Known::NONE),
            Expr::Const(constant) => Ok(Known::test(Some(constant.value.is_true()))),
            Expr::Var(name) if self.macros.contains_key(name.id) => Err(Refused),
            Expr::Var(name) => Ok(state.variable(name.id)),
            Expr::GetAttr(field) => {
                let from = self.value(&field.expr, state)?;
                if let (Kind::Space, Expr::Var(name)) = (from.kind, &field.expr) {
                    let key = (name.id.to_owned(), field.name.to_owned());
                    return Ok(self.spaces.get(&key).copied().unwrap_or(Known::ABSENT));
                }
                attribute(from.kind, field.name, Known::ABSENT)
            }
            Expr::GetItem(item) => {
                let from = self.value(&item.expr, state)?.kind;
                let at = self.value(&item.subscript_expr, state)?.kind;
                match (from, literal(&item.subscript_expr)) {
                    (Kind::Message | Kind::MaybeMessage, Some(key)) => attribute(from, key, Known::ABSENT),
                    (Kind::Parts, None) if is_end(&item.subscript_expr) => Ok(Known::TEXT),
                    (Kind::Conversation, None) if is_end(&item.subscript_expr) => {
                        Ok(Known::of(Kind::Message))
                    }
                    (kind, None) if kind.is_list() && at.is_plain() => Ok(Known::of(Kind::MaybeMessage)),
                    _ if from.is_plain() && at.is_plain() => Ok(Known::PLAIN),
                    _ => Err(Refused),
                }
            }
            Expr::Slice(slice) => {
                let bounds = [&slice.start, &slice.stop, &slice.step];
                for bound in bounds.into_iter().flatten() {
                    self.plain(bound, state)?;
                }
                match self.value(&slice.expr, state)?.kind {
                    kind if kind.is_list() => Ok(Known::of(Kind::List)),
                    kind if kind.is_plain() => Ok(Known::PLAIN),
                    _ => Err(Refused),
                }
            }
            Expr::UnaryOp(unary) => match unary.op {
                UnaryOpKind::Not => {
                    Ok(Known::test(self.value(&unary.expr, state)?.truth.map(|truth| !truth)))
                }
                UnaryOpKind::Neg => self.plain(&unary.expr, state),
            },
            Expr::BinOp(binary) => self.binary(binary.op, &binary.left, &binary.right, state),
            Expr::Compare(compare) => {
                if let Some(filled) = self.filled(compare, state)? {
                    return Ok(Known::test(Some(filled)));
                }
                let [one] = compare.ops.as_slice() else {
                    self.plain(&compare.expr, state)?;
                    for part in &compare.ops {
                        self.plain(&part.expr, state)?;
                    }
                    return Ok(Known::PLAIN);
                };
                let (truth, turned) = match one.op {
                    CompareOpKind::Eq => (self.equal(&compare.expr, &one.expr, state)?, false),
                    CompareOpKind::Ne => (self.equal(&compare.expr, &one.expr, state)?, true),
                    CompareOpKind::In => (self.within(&compare.expr, &one.expr, state)?, false),
                    CompareOpKind::NotIn => (self.within(&compare.expr, &one.expr, state)?, true),
                    _ => {
                        self.plain(&compare.expr, state)?;
                        return self.plain(&one.expr, state).map(|_| Known::PLAIN);
                    }
                };
                Ok(Known::test(truth.map(|truth| truth != turned)))
            }
            Expr::IfExpr(choice) => {
                let other = |walk: &mut Self| match &choice.false_expr {
                    Some(value) => walk.value(value, state),
                    None => Ok(Known::ABSENT),
                };
                match self.value(&choice.test_expr, state)?.truth {
                    Some(true) => self.value(&choice.true_expr, state),
                    Some(false) => other(self),
                    None => Ok(self.value(&choice.true_expr, state)?.or(other(self)?)),
                }
            }
            Expr::Filter(filter) => self.filter(filter, state),
            Expr::Test(test) => self.test(test, state),
            Expr::Call(call) => self.call(call, state),
            Expr::List(list) => self.all_plain(&list.items, state),
            Expr::Tuple(tuple) => self.all_plain(&tuple.items, state),
            Expr::Map(map) => {
                self.all_plain(&map.keys, state)?;
                self.all_plain(&map.values, state)
            }
        }
    }

    fn all_plain(&mut self, values: &'a [Expr<'a>], state: &State) -> Result<Known, Refused> {
        for value in values {
            self.plain(value, state)?;
        }
        Ok(Known::PLAIN)
    }

    fn plain(&mut self, value: &'a Expr<'a>, state: &State) -> Result<Known, Refused> {
        let kind = self.value(value, state)?.kind;
        if kind.is_plain() { Ok(Known::PLAIN) } else { Err(Refused) }
    }

    fn plain_args(&mut self, args: &'a [CallArg<'a>], state: &State) -> Result<Known, Refused> {
        for arg in args {
            match arg {
                CallArg::Pos(value) | CallArg::Kwarg(_, value) => self.plain(value, state)?,
                CallArg::PosSplat(_) | CallArg::KwargSplat(_) => return Err(Refused),
            };
        }
        Ok(Known::PLAIN)
    }

    fn binary(
        &mut self,
        op: BinOpKind,
        left: &'a Expr<'a>,
        right: &'a Expr<'a>,
        state: &State,
    ) -> Result<Known, Refused> {
        let decided = match op {
            BinOpKind::ScAnd => Some(false),
            BinOpKind::ScOr => Some(true),
            _ => None,
        };
        if let Some(decided) = decided {
            let one = self.value(left, state)?;
            return match one.truth {
                Some(truth) if truth == decided => Ok(one),
                Some(_) => self.value(right, state),
                None => {
                    let two = self.value(right, state)?;
                    let truth = two.truth.filter(|truth| *truth == decided);
                    Ok(Known { truth, ..one.or(two) })
                }
            };
        }
        match op {
            BinOpKind::Eq => return Ok(Known::test(self.equal(left, right, state)?)),
            BinOpKind::Ne => return Ok(Known::test(self.equal(left, right, state)?.map(|same| !same))),
            BinOpKind::In => return Ok(Known::test(self.within(left, right, state)?)),
            _ => {}
        }
        let (one, two) = (self.value(left, state)?, self.value(right, state)?);
        match op {
            _ if one.kind.is_plain() && two.kind.is_plain() => Ok(Known::PLAIN),
            BinOpKind::Add | BinOpKind::Concat => {
                let part = |kind: Kind| kind.is_plain() || kind.is_text();
                if !part(one.kind) || !part(two.kind) {
                    return Err(Refused);
                }
                let filled = |known: Known| known.kind.is_text() && known.truth == Some(true);
                let truth = (filled(one) || filled(two)).then_some(true);
                Ok(Known { kind: Kind::Made, truth })
            }
            _ => Err(Refused),
        }
    }

    /// Whether two values are equal; a text is taken to be no literal.
    fn equal(
        &mut self,
        left: &'a Expr<'a>,
        right: &'a Expr<'a>,
        state: &State,
    ) -> Result<Option<bool>, Refused> {
        let (one, two) = (self.value(left, state)?.kind, self.value(right, state)?.kind);
        let other = |value| literal(value).filter(|role| !ROLES.contains(role)).map(|_| false);
        match (one, two) {
            (Kind::Role, Kind::Plain) => Ok(other(right)),
            (Kind::Plain, Kind::Role) => Ok(other(left)),
            _ if one.is_plain() && two.is_plain() => Ok(None),
            (Kind::Text, Kind::None | Kind::Absent) | (Kind::None | Kind::Absent, Kind::Text) => {
                Ok(Some(false))
            }
            (Kind::Text, Kind::Plain) if literal(right) == Some("") => Ok(Some(false)),
            (Kind::Text, Kind::Plain) => self.lacks(right),
            (Kind::Plain, Kind::Text) => self.lacks(left),
            _ => Err(Refused),
        }
    }

    /// Whether a value is in another; a text is taken to hold no literal.
    fn within(
        &mut self,
        part: &'a Expr<'a>,
        whole: &'a Expr<'a>,
        state: &State,
    ) -> Result<Option<bool>, Refused> {
        let (inner, outer) = (self.value(part, state)?.kind, self.value(whole, state)?.kind);
        match (inner, outer, literal(part)) {
            (Kind::Role, Kind::Plain, _) => {
                let others = match whole {
                    Expr::List(list) => &list.items,
                    Expr::Tuple(tuple) => &tuple.items,
                    _ => return Ok(None),
                };
                let other = |value| literal(value).is_some_and(|role| !ROLES.contains(&role));
                Ok(others.iter().all(other).then_some(false))
            }
            _ if inner.is_plain() && outer.is_plain() => Ok(None),
            (_, Kind::Message, Some(key)) => Ok(Some(matches!(key, "role" | "content"))),
            (_, Kind::Text, Some(_)) => self.lacks(part),
            _ => Err(Refused),
        }
    }

    /// Whether `text | length` is compared with 0, and the outcome: no text is empty.
    fn filled(&mut self, compare: &'a Compare<'a>, state: &State) -> Result<Option<bool>, Refused> {
        let (Expr::Filter(filter), [one]) = (&compare.expr, compare.ops.as_slice()) else { return Ok(None) };
        let Some(text) = filter.expr.as_ref().filter(|_| matches!(filter.name, "length" | "count")) else {
            return Ok(None);
        };
        let zero = matches!(&one.expr, Expr::Const(constant) if constant.value.as_usize() == Some(0));
        let of = self.value(text, state)?;
        if !zero || !of.kind.is_text() || of.truth != Some(true) {
            return Ok(None);
        }
        Ok(match one.op {
            CompareOpKind::Gt | CompareOpKind::Ne => Some(true),
            CompareOpKind::Eq | CompareOpKind::Lte => Some(false),
            _ => None,
        })
    }

    /// Take it that texts do not have a literal; of whitespace they may well have some.
    fn lacks(&mut self, value: &Expr<'_>) -> Result<Option<bool>, Refused> {
        let text = literal(value).filter(|text| !text.chars().all(is_space)).ok_or(Refused)?;
        self.found.absent.insert(text.to_owned());
        Ok(Some(false))
    }

    fn filter(&mut self, filter: &'a Filter<'a>, state: &State) -> Result<Known, Refused> {
        let from = self.value(filter.expr.as_ref().ok_or(Refused)?, state)?;
        match (from.kind, filter.name, filter.args.as_slice()) {
            (kind, _, args) if kind.is_plain() => self.plain_args(args, state),
            (kind, "trim", args) if kind.is_text() => self.stripped(from, args),
            (kind, "string", []) if kind.is_text() => Ok(from),
            (Kind::Text, "default" | "d", args) => self.plain_args(args, state).map(|_| from),
            (Kind::Parts, "first" | "last", []) => Ok(Known::TEXT),
            (Kind::Parts, "length" | "count", []) => Ok(Known::PLAIN),
            (kind, "length" | "count", []) if kind.is_list() => Ok(Known::PLAIN),
            (kind, "list", []) if kind.is_list() => Ok(from),
            (kind, "reverse", []) if kind.is_list() => Ok(Known::of(Kind::List)),
            (Kind::Conversation, "first" | "last", []) => Ok(Known::of(Kind::Message)),
            (Kind::List, "first" | "last", []) => Ok(Known::of(Kind::MaybeMessage)),
            (kind, "selectattr" | "rejectattr", [CallArg::Pos(field), args @ ..])
                if kind.is_list() && literal(field) == Some("role") =>
            {
                self.plain_args(args, state)?;
                Ok(Known::of(Kind::List))
            }
            _ => Err(Refused),
        }
    }

    /// A text without whitespace around it: all, or of some characters.
    fn stripped(&mut self, text: Known, args: &[CallArg<'_>]) -> Result<Known, Refused> {
        match args {
            [] => {}
            [CallArg::Pos(chars)] => {
                if !literal(chars).ok_or(Refused)?.chars().all(is_space) {
                    return Err(Refused);
                }
                self.found.strips_some = true;
            }
            _ => return Err(Refused),
        }
        Ok(text)
    }

    fn test(&mut self, test: &'a Test<'a>, state: &State) -> Result<Known, Refused> {
        let of = self.value(&test.expr, state)?;
        self.plain_args(&test.args, state)?;
        let (yes, no): (&[&str], &[&str]) = match of.kind {
            Kind::Text => (
                &["string", "defined", "iterable", "sequence"],
                &["undefined", "none", "mapping", "number", "boolean"],
            ),
            Kind::Message => (&["mapping"], &["string", "none"]),
            Kind::Absent => (&["undefined"], &["defined", "none", "string", "mapping", "number", "boolean"]),
            Kind::None => (
                &["defined", "none"],
                &["undefined", "string", "mapping", "iterable", "sequence", "number", "boolean"],
            ),
            _ => (&[], &[]),
        };
        // a test of what a value is, not of what it says
        let kinds = ["defined", "undefined", "none", "string", "mapping", "iterable", "sequence"];
        let known =
            of.kind.is_text() || of.kind.is_list() || matches!(of.kind, Kind::Message | Kind::MaybeMessage);
        let truth = match test.name {
            name if yes.contains(&name) => Some(true),
            name if no.contains(&name) => Some(false),
            name if of.kind.is_plain() || known && kinds.contains(&name) => None,
            _ => return Err(Refused),
        };
        Ok(Known::test(truth))
    }

    pub(super) fn call(&mut self, call: &'a Call<'a>, state: &State) -> Result<Known, Refused> {
        match &call.expr {
            Expr::Var(name) => match (name.id, call.args.as_slice()) {
                ("raise_exception", args) => {
                    for arg in args {
                        let CallArg::Pos(value) = arg else { return Err(Refused) };
                        self.value(value, state)?;
                    }
                    Ok(Known::of(Kind::Never))
                }
                ("__each" | "__kept", [CallArg::Pos(value)]) => self.value(value, state),
                ("namespace" | "caller", _) => Err(Refused),
                (name, _) if state.get(name).is_some() => Err(Refused),
                (name, args) => match self.macros.get(name).copied() {
                    Some(made) => self.expand(made, args, state),
                    None => self.plain_args(args, state),
                },
            },
            Expr::GetAttr(method) => self.method(&method.expr, method.name, &call.args, state),
            _ => Err(Refused),
        }
    }

    fn method(
        &mut self,
        of: &'a Expr<'a>,
        name: &str,
        args: &'a [CallArg<'a>],
        state: &State,
    ) -> Result<Known, Refused> {
        let from = self.value(of, state)?;
        match (from.kind, name, args) {
            (kind, "strip" | "lstrip" | "rstrip", args) if kind.is_text() => self.stripped(from, args),
            (Kind::Text, "startswith" | "endswith", [CallArg::Pos(part)]) => {
                self.lacks(part).map(Known::test)
            }
            (Kind::Text, "split", [CallArg::Pos(at)]) => {
                self.lacks(at)?;
                Ok(Known { kind: Kind::Parts, truth: Some(true) })
            }
            (Kind::Message, "get", [CallArg::Pos(key), rest @ ..]) => {
                let missing = match rest {
                    [] => Known::NONE,
                    [CallArg::Pos(value)] => self.value(value, state)?,
                    _ => return Err(Refused),
                };
                attribute(from.kind, literal(key).ok_or(Refused)?, missing)
            }
            (Kind::Loop, "cycle", args) => self.plain_args(args, state),
            (kind, "__slice", args) if kind.is_list() => {
                self.plain_args(args, state)?;
                Ok(Known::of(Kind::List))
            }
            (kind, _, args) if kind.is_plain() => self.plain_args(args, state),
            _ => Err(Refused),
        }
    }

    /// A macro with the kinds of its arguments.
    fn expand(
        &mut self,
        made: &'a Macro<'a>,
        args: &'a [CallArg<'a>],
        state: &State,
    ) -> Result<Known, Refused> {
        if self.depth >= DEPTH {
            return Err(Refused);
        }
        let mut inside = State::of_macro();
        let mut given = vec![false; made.args.len()];
        for (position, arg) in args.iter().enumerate() {
            let (index, value) = match arg {
                CallArg::Pos(value) => (Some(position), value),
                CallArg::Kwarg(name, value) => {
                    (made.args.iter().position(|arg| matches!(arg, Expr::Var(var) if var.id == *name)), value)
                }
                CallArg::PosSplat(_) | CallArg::KwargSplat(_) => return Err(Refused),
            };
            let value = self.kept(value, state)?;
            let Some((index, Expr::Var(name))) = index.and_then(|index| Some((index, made.args.get(index)?)))
            else {
                return Err(Refused);
            };
            given[index] = true;
            inside.set(name.id, value);
        }
        let first_default = made.args.len() - made.defaults.len();
        for (index, arg) in made.args.iter().enumerate().filter(|(index, _)| !given[*index]) {
            let Expr::Var(name) = arg else { return Err(Refused) };
            let value = match index.checked_sub(first_default).and_then(|index| made.defaults.get(index)) {
                Some(value) => self.kept(value, state)?,
                None => Known::ABSENT,
            };
            inside.set(name.id, value);
        }
        self.depth += 1;
        let text = self.captured(&made.body, inside);
        self.depth -= 1;
        Ok(text?.0)
    }
}

/// A field of a value; `missing` where a message has none of that name.
fn attribute(from: Kind, name: &str, missing: Known) -> Result<Known, Refused> {
    match (from, name) {
        (Kind::Loop, "previtem" | "nextitem") => Ok(Known::of(Kind::MaybeMessage)),
        (Kind::Loop, _) => Ok(Known::PLAIN),
        (Kind::Message, "content") => Ok(Known::TEXT),
        (Kind::Message, "role") => Ok(Known { kind: Kind::Role, truth: Some(true) }),
        (Kind::MaybeMessage, "role") => Ok(Known::of(Kind::Role)),
        (Kind::Message, _) => Ok(missing),
        (Kind::MaybeMessage, "content") => Ok(Known::of(Kind::Made)),
        (Kind::Text, _) => Ok(Known::ABSENT),
        (Kind::MaybeMessage, _) => Ok(missing.or(Known::ABSENT)),
        (kind, _) if kind.is_plain() => Ok(Known::PLAIN),
        _ => Err(Refused),
    }
}

/// Whether an index is that of the first or the last one.
fn is_end(index: &Expr<'_>) -> bool {
    let is = |index: &Expr<'_>, number: i64| matches!(index, Expr::Const(constant) if i64::try_from(constant.value.clone()).ok() == Some(number));
    let minus = |index: &Expr<'_>| matches!(index, Expr::UnaryOp(unary) if matches!(unary.op, UnaryOpKind::Neg) && is(&unary.expr, 1));
    is(index, 0) || is(index, -1) || minus(index)
}

/// The text of a string literal.
fn literal<'a>(value: &'a Expr<'_>) -> Option<&'a str> {
    let Expr::Const(constant) = value else { return None };
    constant.value.as_str()
}
