GROUPS = 25  # more than one page of `GET groups`
