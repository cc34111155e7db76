coalesce(m.today + {{forecast_days}}::int, 'infinity'::date)
