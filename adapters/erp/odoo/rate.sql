rate as (
  -- one unit of the company's money in each currency, today
  select u.id, u.name, coalesce(
           (select r.rate from res_currency_rate r
             where r.currency_id = u.id and r.name <= (now() at time zone 'utc')::date
               and (r.company_id is null or r.company_id = company.root::integer)
             order by r.company_id, r.name desc limit 1),
           (select r.rate from res_currency_rate r
             where r.currency_id = u.id and (r.company_id is null or r.company_id = company.root::integer)
             order by r.company_id, r.name limit 1), 1)::numeric as rate
    from res_currency u cross join company
)
