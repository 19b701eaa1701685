"""Search: Optuna studies over the recipe, without starting over."""
