//! Whether a template only prints the texts of messages.
//!
//! Most templates decide by roles, by what a message has and by where it stands, and print what it
//! says as it stands or stripped. The rendering is then the same text around the messages' for all
//! conversations of one shape, and need not be made anew for each (`skeleton.rs`). This walks the
//! template with *kinds* of values (`kind.rs`) instead of values and refuses it where a text is used
//! for anything else than to be printed.
//!
//! Conversations that count have messages of a system, user or assistant role and a text alone, none
//! blank, and no tools. That a text holds or is some literal is taken to be false, and each such literal
//! is noted: what has one of them in a text is not for a skeleton.

mod expression;
mod kind;

use std::collections::{BTreeSet, HashMap};

use minijinja::machinery::ast::{Call, Expr, ForLoop, Macro, Set, Stmt};
use minijinja::machinery::parse;

use kind::{Kind, Known, Refused, State};

/// The roles that messages have.
pub const ROLES: [&str; 3] = ["system", "user", "assistant"];
/// Statements and expressions that are looked at, at most.
const STEPS: usize = 1 << 18;
/// Levels of macros that call each other.
const DEPTH: usize = 16;

/// What has to hold for a text so that it is printed only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Printed {
    /// What no text may hold.
    pub absent: BTreeSet<String>,
    /// Whether some whitespace is stripped, but not all: texts may not begin or end with whitespace then.
    pub strips_some: bool,
}

/// Look at a template, rewritten as it is compiled; None where a text is not only printed.
pub fn printed(source: &str) -> Option<Printed> {
    let Ok(Stmt::Template(template)) = parse(source, "chat", crate::environment::syntax()) else {
        return None;
    };
    let mut walk = Walk::default();
    loop {
        let before = walk.spaces.clone();
        walk.steps = 0;
        let mut state = State::default();
        state.set("messages", Known { kind: Kind::Conversation, truth: Some(true) });
        state.set("tools", Known::NONE);
        state.set("documents", Known::NONE);
        walk.block(&template.children, &mut state).ok()?;
        // what a namespace holds may come from behind the place that reads it
        if walk.spaces == before {
            return Some(walk.found);
        }
    }
}

#[derive(Default)]
struct Walk<'a> {
    macros: HashMap<&'a str, &'a Macro<'a>>,
    /// What the fields of namespaces hold, wherever they are set.
    spaces: HashMap<(String, String), Known>,
    found: Printed,
    /// States in which `break` and `continue` leave.
    left: Vec<State>,
    depth: usize,
    steps: usize,
}

impl<'a> Walk<'a> {
    fn step(&mut self) -> Result<(), Refused> {
        self.steps += 1;
        if self.steps > STEPS { Err(Refused) } else { Ok(()) }
    }

    fn block(&mut self, block: &'a [Stmt<'a>], state: &mut State) -> Result<(), Refused> {
        for statement in block {
            if state.dead {
                break;
            }
            self.statement(statement, state)?;
        }
        Ok(())
    }

    fn statement(&mut self, statement: &'a Stmt<'a>, state: &mut State) -> Result<(), Refused> {
        self.step()?;
        match statement {
            Stmt::EmitRaw(raw) if raw.raw.is_empty() => {}
            Stmt::EmitRaw(_) => state.print(Kind::Plain),
            Stmt::EmitExpr(emit) => match self.value(&emit.expr, state)?.kind {
                Kind::Absent => {}
                Kind::Never => state.dead = true,
                kind if kind.is_plain() || kind.is_text() => state.print(kind),
                _ => return Err(Refused),
            },
            Stmt::IfCond(cond) => match self.value(&cond.expr, state)?.truth {
                Some(true) => self.block(&cond.true_body, state)?,
                Some(false) => self.block(&cond.false_body, state)?,
                None => {
                    let mut other = state.clone();
                    self.block(&cond.true_body, state)?;
                    self.block(&cond.false_body, &mut other)?;
                    *state = state.or(&other);
                }
            },
            Stmt::ForLoop(each) => self.repeat(each, state)?,
            Stmt::Set(set) => self.set(set, state)?,
            Stmt::SetBlock(set) => {
                let Expr::Var(name) = &set.target else { return Err(Refused) };
                let (made, inside) = self.captured(&set.body, state.clone())?;
                if set.filter.is_some() && !made.kind.is_plain() {
                    return Err(Refused);
                }
                // its variables outlive it
                let printed = state.printed;
                *state = inside;
                state.printed = printed;
                state.set(name.id, made);
            }
            Stmt::WithBlock(with) => {
                let mut inside = state.clone();
                for (target, value) in &with.assignments {
                    let Expr::Var(name) = target else { return Err(Refused) };
                    let value = self.kept(value, state)?;
                    inside.set(name.id, value);
                }
                self.block(&with.body, &mut inside)?;
                (state.printed, state.dead) = (inside.printed, inside.dead);
            }
            Stmt::Macro(made) => {
                let known = *self.macros.entry(made.name).or_insert(made);
                if !std::ptr::eq(known, &raw const **made) {
                    return Err(Refused);
                }
            }
            Stmt::CallBlock(call) => {
                if !matches!(&call.call.expr, Expr::Var(name) if name.id == "__generation") {
                    return Err(Refused);
                }
                let mut inside = state.clone();
                self.block(&call.macro_decl.body, &mut inside)?;
                (state.printed, state.dead) = (inside.printed.map(|kind| kind.or(Kind::Made)), inside.dead);
            }
            Stmt::Do(call) => state.dead |= self.call(&call.call, state)?.kind == Kind::Never,
            Stmt::Break(_) | Stmt::Continue(_) => {
                self.left.push(state.clone());
                state.dead = true;
            }
            _ => return Err(Refused),
        }
        Ok(())
    }

    /// A loop, until going round it once more shows nothing new.
    fn repeat(&mut self, each: &'a ForLoop<'a>, state: &mut State) -> Result<(), Refused> {
        let over = self.value(&each.iter, state)?.kind;
        if each.recursive {
            return Err(Refused);
        }
        let outside = std::mem::take(&mut self.left);
        let mut begin = state.clone();
        loop {
            let mut inside = begin.clone();
            match (over, &each.target) {
                (kind, Expr::Var(name)) if kind.is_list() => inside.set(name.id, Known::of(Kind::Message)),
                (kind, target) if kind.is_plain() => plain(target, &mut inside)?,
                _ => return Err(Refused),
            }
            inside.set("loop", if over.is_list() { Known::of(Kind::Loop) } else { Known::PLAIN });
            if let Some(filter) = &each.filter_expr {
                self.value(filter, &inside)?;
            }
            self.block(&each.body, &mut inside)?;
            let mut end = begin.or(&without(inside, state, &each.target));
            for left in std::mem::take(&mut self.left) {
                end = end.or(&without(left, state, &each.target));
            }
            if end == begin {
                break;
            }
            begin = end;
        }
        self.left = outside;
        let mut nothing = begin.clone();
        self.block(&each.else_body, &mut nothing)?;
        *state = begin.or(&nothing);
        Ok(())
    }

    fn set(&mut self, set: &'a Set<'a>, state: &mut State) -> Result<(), Refused> {
        match &set.target {
            Expr::Var(name) => {
                if let Some(fields) = namespace(&set.expr) {
                    for (field, value) in fields? {
                        let value = self.kept(value, state)?;
                        self.keep(name.id, field, value, value);
                    }
                    state.set(name.id, Known::of(Kind::Space));
                    return Ok(());
                }
                let value = self.kept(&set.expr, state)?;
                state.set(name.id, value);
                Ok(())
            }
            Expr::GetAttr(field) => {
                let Expr::Var(name) = &field.expr else { return Err(Refused) };
                if state.get(name.id).map(|value| value.kind) != Some(Kind::Space) {
                    return Err(Refused);
                }
                let value = self.kept(&set.expr, state)?;
                // before it is set for the first time it is absent
                self.keep(name.id, field.name, value, value.or(Known::ABSENT));
                Ok(())
            }
            target => {
                let value = self.value(&set.expr, state)?;
                if value.kind.is_plain() { plain(target, state) } else { Err(Refused) }
            }
        }
    }

    /// A field of a namespace gets a value; `first` if it is new.
    fn keep(&mut self, space: &str, field: &str, value: Known, first: Known) {
        let key = (space.to_owned(), field.to_owned());
        let value = self.spaces.get(&key).map_or(first, |before| before.or(value));
        self.spaces.insert(key, value);
    }

    /// A value that gets a name: anything but a namespace or a `loop`, which are known by their first ones.
    fn kept(&mut self, value: &'a Expr<'a>, state: &State) -> Result<Known, Refused> {
        let value = self.value(value, state)?;
        if matches!(value.kind, Kind::Space | Kind::Loop) { Err(Refused) } else { Ok(value) }
    }

    /// The text that a block prints, kept from being printed, and what holds behind the block.
    fn captured(&mut self, block: &'a [Stmt<'a>], mut inside: State) -> Result<(Known, State), Refused> {
        inside.printed = None;
        self.block(block, &mut inside)?;
        let made = match inside.printed {
            _ if inside.dead => Known::of(Kind::Never),
            Some(Kind::Text) => Known::TEXT,
            Some(kind) if kind.is_text() => Known::of(Kind::Made),
            _ => Known::PLAIN,
        };
        Ok((made, inside))
    }
}

/// A loop's own variables end with it.
fn without(mut inside: State, outside: &State, target: &Expr<'_>) -> State {
    let mut names = vec!["loop"];
    if let Expr::Var(name) = target {
        names.push(name.id);
    }
    for name in names {
        match outside.get(name) {
            Some(value) => inside.set(name, value),
            None => inside.forget(name),
        }
    }
    inside
}

/// Give plain values to a name or several.
fn plain(target: &Expr<'_>, state: &mut State) -> Result<(), Refused> {
    match target {
        Expr::Var(name) => state.set(name.id, Known::PLAIN),
        Expr::Tuple(names) => names.items.iter().try_for_each(|name| plain(name, state))?,
        Expr::List(names) => names.items.iter().try_for_each(|name| plain(name, state))?,
        _ => return Err(Refused),
    }
    Ok(())
}

/// The fields of `namespace(...)`; it may stand in `__kept`.
#[allow(clippy::type_complexity, reason = "read once, where it is made")]
fn namespace<'a>(value: &'a Expr<'a>) -> Option<Result<Vec<(&'a str, &'a Expr<'a>)>, Refused>> {
    use minijinja::machinery::ast::CallArg;

    let call = |value: &'a Expr<'a>| -> Option<(&'a str, &'a Call<'a>)> {
        let Expr::Call(call) = value else { return None };
        let Expr::Var(name) = &call.expr else { return None };
        Some((name.id, &**call))
    };
    let (name, made) = match call(value)? {
        ("__kept", kept) => match kept.args.as_slice() {
            [CallArg::Pos(value)] => call(value)?,
            _ => return None,
        },
        made => made,
    };
    let field = |arg: &'a CallArg<'a>| match arg {
        CallArg::Kwarg(name, value) => Ok((*name, value)),
        _ => Err(Refused),
    };
    (name == "namespace").then(|| made.args.iter().map(field).collect())
}
