"""Setting the parameters of an estimator and the fields of their parts, all or none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from lowerbound.parameters.parameter import Parameter, Part, suggestion
from lowerbound.parameters.upgrade import EARLY_STOPPING, OPTIMIZER, PARAMETERS

OTHER_NAMES = {"n_epochs": "max_epochs", "epochs": "max_epochs", "learning_rate": "lr", "seed": "random_state"}
OTHER_NAMES |= {**PARAMETERS, **OPTIMIZER, **EARLY_STOPPING}  # the last three of older versions


class Settable:
    """``set_params`` for an estimator, before scikit-learn's ``BaseEstimator`` among its bases.

    ``PARAMETERS`` has the parameters that can be parts.
    """

    PARAMETERS: ClassVar[dict[str, Parameter]]

    def set_params(self, **params: Any) -> Self:
        """Set parameters, and fields of parts: ``prior__n_components=200``; all of them, or none where one is refused.

        Raises
        ------
        ValueError
            If there is no such parameter, or no such field, or the parameter is a word, which has none.
        """
        before = dict(vars(self))
        try:
            self._set(params)
        except Exception:
            vars(self).update(before)
            raise
        return self

    def _set(self, params: Mapping[str, Any]) -> None:
        known = self.get_params(deep=False)  # type: ignore[attr-defined]
        for name in params:
            if name.partition("__")[0] not in known:
                raise ValueError(self._unknown(name.partition("__")[0]))
        fields = [name for name in params if "__" in name and name.partition("__")[0] in self.PARAMETERS]
        super().set_params(**{name: value for name, value in params.items() if name not in fields})  # type: ignore[misc]
        for name in fields:
            owner, _, field = name.partition("__")
            part = getattr(self, owner)
            if not isinstance(part, Part):
                raise ValueError(self._without_fields(owner, field))
            setattr(self, owner, part.replaced(**{field: params[name]}))

    def _unknown(self, name: str) -> str:
        """The message where there is no such parameter, with the one that may have been meant."""
        new = OTHER_NAMES.get(name, name)
        have = [
            (owner, kind) for owner, each in self.PARAMETERS.items() for kind in each.kinds if new in kind.options()
        ]
        if new in self.PARAMETERS and new != name:
            hint = f": use {new}"
        elif have:
            owner, kind = have[0]
            hint = f": it is a field of a part, {owner}={kind.__name__}({new}=…)"
        else:
            hint = suggestion(name, list(self.get_params(deep=False)))  # type: ignore[attr-defined]
        return f"{type(self).__name__} has no parameter {name!r}{hint}"

    def _without_fields(self, owner: str, field: str) -> str:
        """The message where a field is asked of what is no part."""
        kinds = [kind for kind in self.PARAMETERS[owner].kinds if field in kind.options()]
        able = next((kind for kind in kinds if kind.kind == getattr(self, owner)), kinds[0] if kinds else None)
        example = f": give a part that has it, {owner}={able.__name__}()" if able else ""
        return f"{owner}={getattr(self, owner)!r} is no part, so {owner}__{field} can't be set{example}"
